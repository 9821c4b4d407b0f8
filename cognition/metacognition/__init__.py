"""What watches the thinking: the workspace that modules compete for."""
