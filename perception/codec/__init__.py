"""A small joint codec: one vector for a sentence, and the sentence back from the vector.

Encoder and decoder are trained together, since a vector that was trained to tell meanings apart does not keep wording.
The domain is everyday English of up to some hundred characters, as `perception.codec.grammar` makes it. Importing this
package imports no torch; loading the codec does.
"""
