/* BERT's forward pass by AMX; see native.py.

   Every float32 factor of a product is two bfloat16 parts, what rounds it and what that leaves: x = high + low to 16
   bits. A product is three of AMX, high * high + low * high + high * low, summed in float32; low * low is below what
   float32 keeps. Built for the processor it runs on. */

#define _GNU_SOURCE
#include <stdint.h>

#if defined(__linux__) && defined(__AMX_TILE__) && defined(__AMX_BF16__) && defined(__AVX512BF16__)
#include <immintrin.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SIDE 16        /* rows of a tile */
#define CHUNK 32       /* inputs of a tile, and outputs of a panel */
#define TILE 1024      /* bytes of a tile */
#define BOTH 2048      /* a tile of high parts and one of low ones */
#define BLOCK 8        /* tiles of rows that go through a layer's end together: their inner parts stay in the L2 cache */
#define QUERIES 4      /* rows whose attention is computed together */
#define MOST_SIZE 64

/* Shapes: parts are [rows / 16, inputs / 32, 2, 16, 32] of rows, [outputs / 16, inputs / 32, 2, 16, 16, 2] of weights,
   the last in pairs of inputs, as the tiles want them. */

typedef struct {
    const uint8_t *parts;
    const float *bias;
    int64_t outputs, inputs;
} Matrix;

typedef struct {
    const float *weight, *bias;
} Norm;

typedef struct {
    Matrix query_key_value, output, widen, narrow;
    Norm output_norm, narrow_norm;
} Layer;

typedef struct {
    const float *words, *positions; /* [entries, width] */
    Norm norm;
    const Layer *layers;
    int64_t depth, width, inner, heads;
    double epsilon;
} Bert;

/* The kernel gives a process the registers of tiles when it asks for them. */
int has_tiles(void) { return syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* XTILEDATA */) == 0; }

typedef struct {
    uint8_t palette, start, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
} Configuration;

static void configure(void) {
    Configuration all = {.palette = 1};
    for (int tile = 0; tile < 8; tile++) all.bytes[tile] = 64, all.rows[tile] = SIDE;
    _tile_loadconfig(&all);
}

/* e^x for x <= 0: 2^n times a polynomial on [-ln 2 / 2, ln 2 / 2], 2e-7 relative. */
static inline __m512 exponential(__m512 x) {
    x = _mm512_max_ps(x, _mm512_set1_ps(-87.0f));
    __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), _MM_FROUND_TO_NEAREST_INT);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
    r = _mm512_fmadd_ps(n, _mm512_set1_ps(2.12194440e-4f), r);
    __m512 p = _mm512_set1_ps(1.9875691500e-4f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.3981999507e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(8.3334519073e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(4.1665795894e-2f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.6666665459e-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.0000001201e-1f));
    p = _mm512_fmadd_ps(_mm512_mul_ps(p, r), r, _mm512_add_ps(r, _mm512_set1_ps(1.0f)));
    return _mm512_scalef_ps(p, n);
}

/* x (1 + erf(x / sqrt 2)) / 2; erf by Abramowitz and Stegun 7.1.26, 1.5e-7 absolute. */
static inline __m512 gelu(__m512 x) {
    __m512 u = _mm512_mul_ps(_mm512_abs_ps(x), _mm512_set1_ps(0.70710678f));
    __m512 d = _mm512_fmadd_ps(u, _mm512_set1_ps(0.3275911f), _mm512_set1_ps(1.0f)), t = _mm512_rcp14_ps(d);
    t = _mm512_mul_ps(t, _mm512_fnmadd_ps(d, t, _mm512_set1_ps(2.0f))); /* Newton's step: 1 / d to float32 */
    __m512 p = _mm512_set1_ps(1.061405429f);
    p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(-1.453152027f));
    p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(1.421413741f));
    p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(-0.284496736f));
    p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(0.254829592f));
    p = _mm512_mul_ps(_mm512_mul_ps(p, t), exponential(_mm512_sub_ps(_mm512_setzero_ps(), _mm512_mul_ps(u, u))));
    /* p = 1 - erf(u): half of it is what x keeps where it is negative, and loses where it is not. */
    __m512 part = _mm512_mul_ps(_mm512_mul_ps(x, _mm512_set1_ps(0.5f)), p);
    return _mm512_mask_sub_ps(part, _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_GE_OQ), x, part);
}

/* 32 numbers into their parts. */
static inline void split(__m512 first, __m512 second, uint8_t *to) {
    __m512i high = (__m512i)_mm512_cvtne2ps_pbh(second, first);
    __m512i low_half = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(high));
    __m512i high_half = _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(high, 1));
    first = _mm512_sub_ps(first, _mm512_castsi512_ps(_mm512_slli_epi32(low_half, 16)));
    second = _mm512_sub_ps(second, _mm512_castsi512_ps(_mm512_slli_epi32(high_half, 16)));
    _mm512_store_si512(to, high);
    _mm512_store_si512(to + TILE, (__m512i)_mm512_cvtne2ps_pbh(second, first));
}

static inline uint8_t *part_of(uint8_t *parts, int64_t row, int64_t chunk, int64_t chunks) {
    return parts + (row / SIDE * chunks + chunk) * BOTH + row % SIDE * 64;
}

static void split_row(const float *from, int64_t row, int64_t width, uint8_t *parts) {
    for (int64_t i = 0; i < width; i += CHUNK)
        split(_mm512_loadu_ps(from + i), _mm512_loadu_ps(from + i + 16), part_of(parts, row, i / CHUNK, width / CHUNK));
}

#define ZERO()                                                                                                        \
    _tile_zero(0);                                                                                                    \
    _tile_zero(1);                                                                                                    \
    _tile_zero(2);                                                                                                    \
    _tile_zero(3);
#define WEIGHTS(FROM)                                                                                                 \
    _tile_loadd(6, FROM, 64);                                                                                         \
    _tile_loadd(7, FROM + next, 64);
#define ADD(FIRST, SECOND, ROWS)                                                                                      \
    _tile_dpbf16ps(FIRST, ROWS, 6);                                                                                   \
    _tile_dpbf16ps(SECOND, ROWS, 7);
#define STORE(TO)                                                                                                     \
    _tile_stored(0, TO, 4 * CHUNK);                                                                                   \
    _tile_stored(1, TO + SIDE, 4 * CHUNK);                                                                            \
    _tile_stored(2, TO + SIDE * CHUNK, 4 * CHUNK);                                                                    \
    _tile_stored(3, TO + SIDE * CHUNK + SIDE, 4 * CHUNK);

/* Two tiles of rows times two of outputs, into `sums` [32, 32]. */
static void two_tiles(const uint8_t *rows, const uint8_t *weights, int64_t chunks, float *sums) {
    const int64_t next = chunks * BOTH;
    ZERO()
    for (int64_t chunk = 0; chunk < chunks; chunk++, rows += BOTH, weights += BOTH) {
        WEIGHTS(weights)
        _tile_loadd(4, rows + TILE, 64);
        _tile_loadd(5, rows + next + TILE, 64);
        ADD(0, 1, 4)
        ADD(2, 3, 5)
        _tile_loadd(4, rows, 64);
        _tile_loadd(5, rows + next, 64);
        ADD(0, 1, 4)
        ADD(2, 3, 5)
        WEIGHTS(weights + TILE)
        ADD(0, 1, 4)
        ADD(2, 3, 5)
    }
    STORE(sums)
}

/* One tile of rows: the products with low parts have sums of their own, for a product waits for the one before it of
   the same sum. */
static void one_tile(const uint8_t *rows, const uint8_t *weights, int64_t chunks, float *sums) {
    const int64_t next = chunks * BOTH;
    ZERO()
    for (int64_t chunk = 0; chunk < chunks; chunk++, rows += BOTH, weights += BOTH) {
        WEIGHTS(weights)
        _tile_loadd(4, rows + TILE, 64);
        _tile_loadd(5, rows, 64);
        ADD(2, 3, 4)
        ADD(0, 1, 5)
        WEIGHTS(weights + TILE)
        ADD(2, 3, 5)
    }
    STORE(sums)
    for (int64_t at = 0; at < SIDE * CHUNK; at += 16)
        _mm512_store_ps(sums + at, _mm512_add_ps(_mm512_load_ps(sums + at), _mm512_load_ps(sums + SIDE * CHUNK + at)));
}

/* Rows times a matrix plus its bias: into `out` [rows, outputs], or, where it is NULL, their GELU as `parts`. */
static void multiply(const Matrix *matrix, const uint8_t *rows, int64_t tiles, float *out, uint8_t *parts,
                     int threads) {
    const int64_t chunks = matrix->inputs / CHUNK, panels = matrix->outputs / CHUNK, height = chunks * BOTH;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        _Alignas(64) float sums[2 * SIDE * CHUNK];
        configure();
#pragma omp for schedule(static)
        for (int64_t panel = 0; panel < panels; panel++) {
            const uint8_t *weights = matrix->parts + 2 * panel * height;
            const __m512 first = _mm512_loadu_ps(matrix->bias + panel * CHUNK);
            const __m512 second = _mm512_loadu_ps(matrix->bias + panel * CHUNK + 16);
            for (int64_t tile = 0; tile < tiles; tile += 2) {
                const int64_t some = tile + 1 < tiles ? 2 : 1;
                (some == 2 ? two_tiles : one_tile)(rows + tile * height, weights, chunks, sums);
                for (int64_t row = 0; row < some * SIDE; row++) {
                    __m512 a = _mm512_add_ps(_mm512_load_ps(sums + row * CHUNK), first);
                    __m512 b = _mm512_add_ps(_mm512_load_ps(sums + row * CHUNK + 16), second);
                    if (out) {
                        float *to = out + (tile * SIDE + row) * matrix->outputs + panel * CHUNK;
                        _mm512_store_ps(to, a), _mm512_store_ps(to + 16, b);
                    } else {
                        split(gelu(a), gelu(b), part_of(parts, tile * SIDE + row, panel, panels));
                    }
                }
            }
        }
        _tile_release();
    }
}

/* row = norm(row + more). */
static void normalise(float *row, const float *more, const Norm *norm, int64_t width, float epsilon) {
    __m512 sum = _mm512_setzero_ps(), squares = _mm512_setzero_ps();
    for (int64_t i = 0; i < width; i += 16) {
        __m512 x = _mm512_add_ps(_mm512_load_ps(row + i), _mm512_loadu_ps(more + i));
        _mm512_store_ps(row + i, x);
        sum = _mm512_add_ps(sum, x);
    }
    const __m512 mean = _mm512_set1_ps(_mm512_reduce_add_ps(sum) / width);
    for (int64_t i = 0; i < width; i += 16) {
        __m512 x = _mm512_sub_ps(_mm512_load_ps(row + i), mean);
        squares = _mm512_fmadd_ps(x, x, squares);
    }
    const __m512 deviation = _mm512_sqrt_ps(_mm512_set1_ps(_mm512_reduce_add_ps(squares) / width + epsilon));
    const __m512 scale = _mm512_div_ps(_mm512_set1_ps(1.0f), deviation);
    for (int64_t i = 0; i < width; i += 16) {
        __m512 x = _mm512_mul_ps(_mm512_sub_ps(_mm512_load_ps(row + i), mean), scale);
        x = _mm512_fmadd_ps(x, _mm512_loadu_ps(norm->weight + i), _mm512_loadu_ps(norm->bias + i));
        _mm512_store_ps(row + i, x);
    }
}

/* One head of one text: mixed [length, 3 * width] holds queries, keys and values; its rows of the product's input go
   to `parts`. `keys` has room for size * length rounded up to 16, `scores` for QUERIES of that. `size` is a constant
   where this is inlined. */
static inline __attribute__((always_inline)) void attend(const float *mixed, int64_t begin, int64_t length,
                                                         int64_t width, int64_t head, const int64_t size, float *keys,
                                                         float *scores, uint8_t *parts) {
    const int64_t stride = 3 * width, padded = (length + 15) & ~15;
    const float *query = mixed + begin * stride + head * size, *key = query + width, *value = key + width;
    const float scale = 1.0f / __builtin_sqrtf((float)size);
    for (int64_t i = 0; i < size; i++) _mm512_store_ps(keys + i * padded + padded - 16, _mm512_setzero_ps());
    for (int64_t row = 0; row < length; row++)
        for (int64_t i = 0; i < size; i++) keys[i * padded + row] = key[row * stride + i];
    for (int64_t first = 0; first < length; first += QUERIES) {
        const int64_t some = length - first < QUERIES ? length - first : QUERIES;
        __m512 out[QUERIES][MOST_SIZE / 16];
        float totals[QUERIES];
        for (int64_t at = 0; at < padded; at += 16) {
            __m512 score[QUERIES];
            for (int q = 0; q < QUERIES; q++) score[q] = _mm512_setzero_ps();
            for (int64_t i = 0; i < size; i++) {
                const __m512 of = _mm512_load_ps(keys + i * padded + at);
                for (int q = 0; q < QUERIES; q++) {
                    const int64_t row = first + (q < some ? q : 0);
                    score[q] = _mm512_fmadd_ps(_mm512_set1_ps(query[row * stride + i]), of, score[q]);
                }
            }
            const __mmask16 real = length - at >= 16 ? 0xffff : (__mmask16)((1 << (length - at)) - 1);
            for (int q = 0; q < QUERIES; q++)
                _mm512_store_ps(scores + q * padded + at,
                                _mm512_mask_mul_ps(_mm512_set1_ps(-1e30f), real, score[q], _mm512_set1_ps(scale)));
        }
        for (int q = 0; q < QUERIES; q++) {
            float *score = scores + q * padded;
            __m512 most = _mm512_load_ps(score), total = _mm512_setzero_ps();
            for (int64_t at = 16; at < padded; at += 16) most = _mm512_max_ps(most, _mm512_load_ps(score + at));
            most = _mm512_set1_ps(_mm512_reduce_max_ps(most));
            for (int64_t at = 0; at < padded; at += 16) {
                const __mmask16 real = length - at >= 16 ? 0xffff : (__mmask16)((1 << (length - at)) - 1);
                __m512 weight = exponential(_mm512_sub_ps(_mm512_load_ps(score + at), most));
                weight = _mm512_maskz_mov_ps(real, weight);
                _mm512_store_ps(score + at, weight);
                total = _mm512_add_ps(total, weight);
            }
            totals[q] = 1.0f / _mm512_reduce_add_ps(total);
        }
        for (int q = 0; q < QUERIES; q++)
            for (int i = 0; i < size / 16; i++) out[q][i] = _mm512_setzero_ps();
        for (int64_t row = 0; row < length; row++) {
            __m512 of[MOST_SIZE / 16];
            for (int i = 0; i < size / 16; i++) of[i] = _mm512_loadu_ps(value + row * stride + 16 * i);
            for (int q = 0; q < QUERIES; q++) {
                const __m512 weight = _mm512_set1_ps(scores[q * padded + row]);
                for (int i = 0; i < size / 16; i++) out[q][i] = _mm512_fmadd_ps(weight, of[i], out[q][i]);
            }
        }
        for (int q = 0; q < some; q++) {
            const __m512 total = _mm512_set1_ps(totals[q]);
            for (int i = 0; i < size / 16; i += 2)
                split(_mm512_mul_ps(out[q][i], total), _mm512_mul_ps(out[q][i + 1], total),
                      part_of(parts, begin + first + q, (head * size + 16 * i) / CHUNK, width / CHUNK));
        }
    }
}

static float *room(int64_t numbers) { return aligned_alloc(64, (size_t)((numbers * 4 + 63) & ~63)); }

/* Mean-pooled vectors, out [texts, width], of tokens that lie one text after another: text i has those from starts[i]
   to starts[i + 1]. 1 where there is no memory. */
static int pass(const Bert *bert, const int64_t *tokens, const int64_t *starts, int64_t texts, float *out, int threads) {
    const int64_t width = bert->width, count = starts[texts], size = width / bert->heads, all = bert->depth;
    const int64_t tiles = (count + SIDE - 1) / SIDE, rows = tiles * SIDE, block = tiles < BLOCK ? tiles : BLOCK;
    int64_t longest = 16;
    for (int64_t text = 0; text < texts; text++)
        if (starts[text + 1] - starts[text] > longest) longest = starts[text + 1] - starts[text];
    longest = (longest + 15) & ~15;
    const int64_t each = (size + QUERIES) * longest;
    float *hidden = room(rows * width), *mixed = room(rows * 3 * width), *more = room(block * SIDE * width);
    float *attending = room(each * threads);
    uint8_t *parts = (uint8_t *)room(rows * width), *attended = (uint8_t *)room(rows * width);
    uint8_t *inner = (uint8_t *)room(block * SIDE * bert->inner);
    int failed = !hidden || !mixed || !more || !attending || !parts || !attended || !inner;
    if (failed) goto end;
    for (int64_t text = 0; text < texts; text++)
        for (int64_t row = starts[text]; row < starts[text + 1]; row++) {
            memcpy(hidden + row * width, bert->words + tokens[row] * width, sizeof(float) * width);
            normalise(hidden + row * width, bert->positions + (row - starts[text]) * width, &bert->norm, width,
                      bert->epsilon);
        }
    /* Rows that fill the last tile: computed, never read. */
    memset(hidden + count * width, 0, sizeof(float) * (rows - count) * width);
    memset(attended, 0, sizeof(float) * rows * width);
    for (int64_t row = 0; row < rows; row++) split_row(hidden + row * width, row, width, parts);
    for (const Layer *layer = bert->layers; layer < bert->layers + all; layer++) {
        multiply(&layer->query_key_value, parts, tiles, mixed, NULL, threads);
#pragma omp parallel num_threads(threads) if (threads > 1)
        {
#ifdef _OPENMP
            extern int omp_get_thread_num(void);
            float *keys = attending + each * omp_get_thread_num(), *scores = keys + size * longest;
#else
            float *keys = attending, *scores = keys + size * longest;
#endif
#pragma omp for schedule(dynamic, 4)
            for (int64_t task = 0; task < texts * bert->heads; task++) {
                const int64_t text = task / bert->heads, head = task % bert->heads, begin = starts[text];
                const int64_t length = starts[text + 1] - begin;
                if (size == 32) attend(mixed, begin, length, width, head, 32, keys, scores, attended);
                else attend(mixed, begin, length, width, head, 64, keys, scores, attended);
            }
        }
        for (int64_t tile = 0; tile < tiles; tile += BLOCK) {
            const int64_t some = tiles - tile < BLOCK ? tiles - tile : BLOCK;
            float *here = hidden + tile * SIDE * width;
            uint8_t *its_parts = parts + tile * SIDE * width * 4;
            multiply(&layer->output, attended + tile * SIDE * width * 4, some, more, NULL, threads);
            for (int64_t row = 0; row < some * SIDE; row++) {
                normalise(here + row * width, more + row * width, &layer->output_norm, width, bert->epsilon);
                split_row(here + row * width, row, width, its_parts);
            }
            multiply(&layer->widen, its_parts, some, NULL, inner, threads);
            multiply(&layer->narrow, inner, some, more, NULL, threads);
            for (int64_t row = 0; row < some * SIDE; row++) {
                normalise(here + row * width, more + row * width, &layer->narrow_norm, width, bert->epsilon);
                split_row(here + row * width, row, width, its_parts);
            }
        }
    }
    for (int64_t text = 0; text < texts; text++) {
        const int64_t length = starts[text + 1] - starts[text];
        for (int64_t i = 0; i < width; i += 16) {
            __m512 sum = _mm512_setzero_ps();
            for (int64_t row = starts[text]; row < starts[text + 1]; row++)
                sum = _mm512_add_ps(sum, _mm512_load_ps(hidden + row * width + i));
            _mm512_storeu_ps(out + text * width + i, _mm512_div_ps(sum, _mm512_set1_ps((float)length)));
        }
    }
end:
    free(hidden), free(mixed), free(more), free(attending), free(parts), free(attended), free(inner);
    return failed;
}

/* The pass. A single thread stays on its processor meanwhile: beside a server's threads, which wake up for a moment
   and are many, the scheduler would move it about, away from its caches. */
int encode(const Bert *bert, const int64_t *tokens, const int64_t *starts, int64_t texts, float *out, int threads) {
    const int here = threads == 1 ? sched_getcpu() : -1;
    cpu_set_t allowed, one;
    const int stays = here >= 0 && here < CPU_SETSIZE && !sched_getaffinity(0, sizeof allowed, &allowed);
    if (stays) {
        CPU_ZERO(&one);
        CPU_SET(here, &one);
        sched_setaffinity(0, sizeof one, &one);
    }
    const int failed = pass(bert, tokens, starts, texts, out, threads);
    if (stays) sched_setaffinity(0, sizeof allowed, &allowed);
    return failed;
}

#else

int has_tiles(void) { return 0; }

int encode(const void *bert, const int64_t *tokens, const int64_t *starts, int64_t texts, float *out, int threads) {
    return 1;
}

#endif
