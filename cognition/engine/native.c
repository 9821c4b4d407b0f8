/* The inner loops of decoding that torch has no good kernel for; see native.py.

   Plain C with the compiler's own vectors where they do, and VNNI's byte products where they decide. Built for the
   processor it runs on. Every function returns 0, or 1 for sizes that it does not take. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define GROUP 32
#define MOST_GROUPED 4 /* query rows computed at once for a key head */
#define MOST_SIZE 128
#define ROWS_AHEAD 48 /* keys and values that are asked for before they are needed */

/* e^x for x <= 0: 2^n times a polynomial on [-ln 2 / 2, ln 2 / 2], 2e-7 relative. */
static inline float exponential(float x) {
    x = x < -87.0f ? -87.0f : x;
    float n = rintf(x * 1.44269504f);
    float r = x - n * 0.693359375f + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    union { int32_t bits; float value; } power = {((int32_t)n + 127) << 23};
    return p * power.value;
}

static inline float widened(uint16_t half) {
    union { uint32_t bits; float value; } wide = {(uint32_t)half << 16};
    return wide.value;
}

/* One key head of one sequence: `grouped` query rows over `length` rows of keys and values. `size` and `grouped` are
   constants where this is inlined, so that sums stay in registers. */
#define HEAD(NAME, TYPE, WIDE)                                                                                        \
    static inline __attribute__((always_inline)) void NAME(                                                           \
        const float *restrict query, const TYPE *restrict keys, const TYPE *restrict values, int64_t length,          \
        const int64_t grouped, const int64_t size, float scale, float *restrict scores, float *restrict out) {        \
        float most[MOST_GROUPED], sums[MOST_GROUPED * MOST_SIZE];                                                     \
        for (int64_t g = 0; g < grouped; g++) most[g] = -1e30f;                                                       \
        for (int64_t row = 0; row < length; row++) {                                                                  \
            const TYPE *key = keys + row * size;                                                                      \
            for (int64_t i = 0; i < size; i += 64 / sizeof(TYPE)) __builtin_prefetch(key + ROWS_AHEAD * size + i);    \
            for (int64_t g = 0; g < grouped; g++) {                                                                   \
                float sum = 0.0f;                                                                                     \
                for (int64_t i = 0; i < size; i++) sum += query[g * size + i] * WIDE(key[i]);                         \
                sum *= scale;                                                                                         \
                scores[g * length + row] = sum;                                                                       \
                most[g] = sum > most[g] ? sum : most[g];                                                              \
            }                                                                                                         \
        }                                                                                                             \
        for (int64_t g = 0; g < grouped; g++) {                                                                       \
            float total = 0.0f, *score = scores + g * length;                                                         \
            for (int64_t row = 0; row < length; row++) {                                                              \
                float weight = exponential(score[row] - most[g]);                                                     \
                score[row] = weight;                                                                                  \
                total += weight;                                                                                      \
            }                                                                                                         \
            most[g] = 1.0f / total;                                                                                   \
        }                                                                                                             \
        for (int64_t i = 0; i < grouped * size; i++) sums[i] = 0.0f;                                                  \
        for (int64_t row = 0; row < length; row++) {                                                                  \
            const TYPE *value = values + row * size;                                                                  \
            for (int64_t i = 0; i < size; i += 64 / sizeof(TYPE)) __builtin_prefetch(value + ROWS_AHEAD * size + i);  \
            for (int64_t g = 0; g < grouped; g++) {                                                                   \
                float weight = scores[g * length + row];                                                              \
                for (int64_t i = 0; i < size; i++) sums[g * size + i] += weight * WIDE(value[i]);                     \
            }                                                                                                         \
        }                                                                                                             \
        for (int64_t g = 0; g < grouped; g++)                                                                         \
            for (int64_t i = 0; i < size; i++) out[g * size + i] = sums[g * size + i] * most[g];                      \
    }

#define SAME(x) (x)
HEAD(head_float, float, SAME)
HEAD(head_half, uint16_t, widened)

#define SIZE(HEAD, GROUPED)                                                                                           \
    if (size == 64) HEAD(query, keys, values, length, GROUPED, 64, scale, scores, out);                               \
    else if (size == 128) HEAD(query, keys, values, length, GROUPED, 128, scale, scores, out);                        \
    else if (size == 32) HEAD(query, keys, values, length, GROUPED, 32, scale, scores, out);                          \
    else HEAD(query, keys, values, length, GROUPED, size, scale, scores, out);
#define BY_SIZE(NAME, HEAD, TYPE)                                                                                     \
    static void NAME(const float *query, const TYPE *keys, const TYPE *values, int64_t length, int64_t grouped,       \
                     int64_t size, float scale, float *scores, float *out) {                                          \
        if (grouped == 1) { SIZE(HEAD, 1) }                                                                           \
        else if (grouped == 2) { SIZE(HEAD, 2) }                                                                      \
        else if (grouped == 3) { SIZE(HEAD, 3) }                                                                      \
        else { SIZE(HEAD, 4) }                                                                                        \
    }
BY_SIZE(rows_float, head_float, float)
BY_SIZE(rows_half, head_half, uint16_t)

/* Attention of one row each of `count` sequences. query and out: [count, heads, grouped, size]; keys and values:
   [slots, heads, capacity, size], float32, or bfloat16 where `half`; slots and lengths: [count]. */
int attend(const float *query, const void *keys, const void *values, int half, const int64_t *slots,
           const int64_t *lengths, int64_t count, int64_t heads, int64_t grouped, int64_t capacity, int64_t size,
           float scale, float *out, int threads) {
    if (size > MOST_SIZE) return 1;
    int failed = 0;
#pragma omp parallel for schedule(dynamic) num_threads(threads) if (threads > 1)
    for (int64_t task = 0; task < count * heads; task++) {
        int64_t which = task / heads, head = task % heads, length = lengths[which];
        int64_t at = (slots[which] * heads + head) * capacity * size;
        float *scores = malloc(sizeof(float) * MOST_GROUPED * length);
        if (!scores) {
            failed = 1;
            continue;
        }
        for (int64_t first = 0; first < grouped; first += MOST_GROUPED) {
            int64_t some = grouped - first < MOST_GROUPED ? grouped - first : MOST_GROUPED;
            int64_t row = (task * grouped + first) * size;
            if (half)
                rows_half(query + row, (const uint16_t *)keys + at, (const uint16_t *)values + at, length, some, size,
                          scale, scores, out + row);
            else
                rows_float(query + row, (const float *)keys + at, (const float *)values + at, length, some, size,
                           scale, scores, out + row);
        }
        free(scores);
    }
    return failed;
}

#if defined(__AVX512VNNI__) && defined(__AVX512BW__) && defined(__AVX512VL__)
#include <immintrin.h>

int has_products(void) { return 1; }

#define LANES 16 /* outputs of a block, one in each 32-bit lane */
#define TILE 8   /* rows that a block's weights are unpacked for once */

/* Rows to bytes, one scale for each group: x = scale * byte. `sums` holds scale * sum of bytes. */
static void to_bytes(const float *rows, int64_t groups, int8_t *bytes, float *scales, float *sums) {
    for (int64_t g = 0; g < groups; g++) {
        const float *x = rows + g * GROUP;
        __m512 low = _mm512_loadu_ps(x), high = _mm512_loadu_ps(x + 16);
        float most = _mm512_reduce_max_ps(_mm512_max_ps(_mm512_abs_ps(low), _mm512_abs_ps(high)));
        float scale = most / 127.0f;
        __m512 inverse = _mm512_set1_ps(most > 0.0f ? 127.0f / most : 0.0f);
        __m512i a = _mm512_cvtps_epi32(_mm512_mul_ps(low, inverse));
        __m512i b = _mm512_cvtps_epi32(_mm512_mul_ps(high, inverse));
        _mm_storeu_si128((__m128i *)(bytes + g * GROUP), _mm512_cvtsepi32_epi8(a));
        _mm_storeu_si128((__m128i *)(bytes + g * GROUP + 16), _mm512_cvtsepi32_epi8(b));
        scales[g] = scale;
        sums[g] = scale * (float)_mm512_reduce_add_epi32(_mm512_add_epi32(a, b));
    }
}

/* One block of 16 outputs for `count` rows, at most TILE. Weight = number * step + least, in groups of 32 inputs; the
   numbers of a group are eight vectors of 16 outputs by 4 inputs, as bytes, or as nibbles two in a byte. */
static inline __attribute__((always_inline)) void block(
    const uint8_t *numbers, const uint16_t *steps, const uint16_t *leasts, int64_t groups, const int four,
    const int8_t *bytes, const float *scales, const float *sums, const int count, float *out, int64_t outputs) {
    __m512 total[TILE];
    const __m512i mask = _mm512_set1_epi8(15);
    for (int row = 0; row < count; row++) total[row] = _mm512_setzero_ps();
    for (int64_t g = 0; g < groups; g++) {
        __m512i weight[8];
        if (four) {
            const uint8_t *from = numbers + g * (LANES * GROUP / 2);
            for (int i = 0; i < 4; i++) {
                __m512i two = _mm512_loadu_si512(from + 64 * i);
                weight[i] = _mm512_and_si512(two, mask);
                weight[i + 4] = _mm512_and_si512(_mm512_srli_epi16(two, 4), mask);
            }
        } else {
            for (int i = 0; i < 8; i++) weight[i] = _mm512_loadu_si512(numbers + g * (LANES * GROUP) + 64 * i);
        }
        __m512 step = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(steps + g * LANES)));
        __m512 least = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(leasts + g * LANES)));
        for (int row = 0; row < count; row++) {
            const int8_t *x = bytes + (row * groups + g) * GROUP;
            __m512i even = _mm512_setzero_si512(), odd = _mm512_setzero_si512();
            for (int i = 0; i < 8; i += 2) {
                int32_t first, second;
                memcpy(&first, x + 4 * i, 4);
                memcpy(&second, x + 4 * i + 4, 4);
                even = _mm512_dpbusd_epi32(even, weight[i], _mm512_set1_epi32(first));
                odd = _mm512_dpbusd_epi32(odd, weight[i + 1], _mm512_set1_epi32(second));
            }
            __m512 sum = _mm512_cvtepi32_ps(_mm512_add_epi32(even, odd));
            __m512 scaled = _mm512_mul_ps(step, _mm512_set1_ps(scales[row * groups + g]));
            total[row] = _mm512_fmadd_ps(sum, scaled, total[row]);
            total[row] = _mm512_fmadd_ps(least, _mm512_set1_ps(sums[row * groups + g]), total[row]);
        }
    }
    for (int row = 0; row < count; row++) _mm512_storeu_ps(out + row * outputs, total[row]);
}

/* rows [count, groups * 32] times the matrix, transposed, into out [count, outputs]. Numbers and scales lie by blocks
   of 16 outputs: numbers [outputs / 16, groups, 512 or 256 bytes], steps and leasts [outputs / 16, groups, 16] in half
   precision. */
int multiply(const float *rows, int64_t count, const uint8_t *numbers, const uint16_t *steps, const uint16_t *leasts,
             int64_t outputs, int64_t groups, int bits, float *out, int threads) {
    if (outputs % LANES || (bits != 4 && bits != 8)) return 1;
    int8_t *bytes = malloc(count * groups * GROUP);
    float *scales = malloc(sizeof(float) * count * groups * 2), *sums = scales + count * groups;
    if (!bytes || !scales) {
        free(bytes);
        free(scales);
        return 1;
    }
    for (int64_t row = 0; row < count; row++)
        to_bytes(rows + row * groups * GROUP, groups, bytes + row * groups * GROUP, scales + row * groups,
                 sums + row * groups);
    int64_t stride = groups * LANES * GROUP * bits / 8;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t b = 0; b < outputs / LANES; b++) {
        const uint8_t *from = numbers + b * stride;
        const uint16_t *step = steps + b * groups * LANES, *least = leasts + b * groups * LANES;
        for (int64_t row = 0; row < count;) {
            const int8_t *x = bytes + row * groups * GROUP;
            const float *scale = scales + row * groups, *sum = sums + row * groups;
            float *to = out + row * outputs + b * LANES;
#define ROWS(FOUR, COUNT) block(from, step, least, groups, FOUR, x, scale, sum, COUNT, to, outputs)
            int64_t left = count - row;
            if (bits == 4) {
                if (left >= 8) ROWS(1, 8);
                else if (left >= 4) ROWS(1, 4), left = 4;
                else if (left >= 2) ROWS(1, 2), left = 2;
                else ROWS(1, 1);
            } else {
                if (left >= 8) ROWS(0, 8);
                else if (left >= 4) ROWS(0, 4), left = 4;
                else if (left >= 2) ROWS(0, 2), left = 2;
                else ROWS(0, 1);
            }
            row += left < TILE ? left : TILE;
        }
    }
    free(bytes);
    free(scales);
    return 0;
}
#else
int has_products(void) { return 0; }

int multiply(const float *rows, int64_t count, const uint8_t *numbers, const uint16_t *steps, const uint16_t *leasts,
             int64_t outputs, int64_t groups, int bits, float *out, int threads) {
    return 1;
}
#endif

#if defined(__AVX512BF16__) && defined(__AVX512F__)
#include <immintrin.h>

int has_halves(void) { return 1; }

#define HALVES_AHEAD 64 /* pairs that are asked for before they are needed */
#define ROW_TILE 16 /* rows that a block's weights are read for once */

/* 16 outputs for `count` rows, at most ROW_TILE, from pairs of inputs: weights [pairs, 16 outputs, 2], rows
   [count, stride] of two bfloat16 each. Sums are float32. */
static inline __attribute__((always_inline)) void half_block(const uint16_t *weights, int64_t pairs,
                                                             const uint32_t *rows, int64_t stride, const int count,
                                                             float *out, int64_t outputs) {
    /* A sum that waits for itself takes six cycles a step: few rows have two or four of them. */
    const int chains = count >= 4 ? 1 : count >= 2 ? 2 : 4;
    __m512 total[ROW_TILE];
    for (int i = 0; i < count * chains; i++) total[i] = _mm512_setzero_ps();
    int64_t at = 0;
    for (; at + chains <= pairs; at += chains)
        for (int c = 0; c < chains; c++) {
            __m512bh weight = (__m512bh)_mm512_loadu_si512(weights + (at + c) * 32);
            _mm_prefetch((const char *)(weights + (at + c + HALVES_AHEAD) * 32), _MM_HINT_T0);
            for (int r = 0; r < count; r++) {
                __m512bh x = (__m512bh)_mm512_set1_epi32((int)rows[r * stride + at + c]);
                total[r * chains + c] = _mm512_dpbf16_ps(total[r * chains + c], x, weight);
            }
        }
    for (; at < pairs; at++)
        for (int r = 0; r < count; r++)
            total[r * chains] = _mm512_dpbf16_ps(total[r * chains], (__m512bh)_mm512_set1_epi32((int)rows[r * stride + at]),
                                                 (__m512bh)_mm512_loadu_si512(weights + at * 32));
    for (int r = 0; r < count; r++) {
        for (int c = 1; c < chains; c++) total[r * chains] = _mm512_add_ps(total[r * chains], total[r * chains + c]);
        _mm512_storeu_ps(out + r * outputs, total[r * chains]);
    }
}

/* rows [count, 2 * pairs], rounded to bfloat16, times the matrix, transposed, into out [count, outputs]. Weights lie by
   blocks of 16 outputs: [outputs / 16, pairs, 16, 2] in bfloat16. */
int multiply_halves(const float *rows, int64_t count, const uint16_t *weights, int64_t outputs, int64_t pairs, float *out,
                    int threads) {
    if (outputs % 16 || pairs % 8) return 1;
    int64_t stride = pairs + 16; /* rows a power of two apart would all fall into the same lines of the cache */
    uint32_t *halves = malloc(sizeof(uint32_t) * count * stride);
    if (!halves) return 1;
    for (int64_t r = 0; r < count; r++)
        for (int64_t i = 0; i < pairs; i += 8)
            _mm256_storeu_si256((__m256i *)(halves + r * stride + i),
                                (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(rows + 2 * (r * pairs + i))));
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t b = 0; b < outputs / 16; b++) {
        const uint16_t *from = weights + b * pairs * 32;
        for (int64_t row = 0, now; row < count; row += now) {
            const uint32_t *x = halves + row * stride;
            float *to = out + row * outputs + b * 16;
            int64_t left = count - row;
            now = left >= 16 ? 16 : left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
#define HALF_ROWS(COUNT) half_block(from, pairs, x, stride, COUNT, to, outputs)
            if (now == 16) HALF_ROWS(16);
            else if (now == 8) HALF_ROWS(8);
            else if (now == 4) HALF_ROWS(4);
            else if (now == 2) HALF_ROWS(2);
            else HALF_ROWS(1);
        }
    }
    free(halves);
    return 0;
}
#else
int has_halves(void) { return 0; }

int multiply_halves(const float *rows, int64_t count, const uint16_t *weights, int64_t outputs, int64_t pairs, float *out,
                    int threads) {
    return 1;
}
#endif

/* A layer for a few rows, each of another sequence, from one call. */

typedef float lanes __attribute__((vector_size(64), aligned(4)));
#define WIDTH 16 /* numbers of `lanes` */
#define ROWS_AT_ONCE 4
#define AHEAD 512 /* numbers of a row of weights that are asked for before they are needed */

/* A matrix [outputs, inputs] with its bias, or none: float32 where `bits` is 32, laid out for `multiply_halves` where it
   is 16, and for `multiply` where it is 8 or 4. */
typedef struct {
    const void *numbers;
    const uint16_t *steps, *leasts;
    const float *bias;
    int64_t outputs, inputs, bits;
} matrix;

/* A layer norm, or an RMS norm, which has no bias. No weight means none at all. */
typedef struct {
    const float *weight, *bias;
} norm;

/* As the decoder has it; the same in all layers but for the pointers. */
typedef struct {
    norm attention_norm, mlp_norm, query_norm, key_norm;
    matrix qkv, output, up, down;
    int64_t heads, key_heads, size, gated, rms;
    double epsilon;
} layer;

/* out[r, o] = rows[r] . weights[o] + bias[o] for few r and o, constants where this is inlined. */
static inline __attribute__((always_inline)) void dots(const float *rows, const float *weights, const float *bias,
                                                       int64_t inputs, const int count, const int some, float *out,
                                                       int64_t outputs) {
    lanes sums[ROWS_AT_ONCE * 8];
    for (int i = 0; i < count * some; i++) sums[i] = (lanes){0};
    int64_t at = 0;
    for (; at + WIDTH <= inputs; at += WIDTH) {
        lanes weight[8];
        for (int o = 0; o < some; o++) {
            weight[o] = *(const lanes *)(weights + o * inputs + at);
            __builtin_prefetch(weights + o * inputs + at + AHEAD);
        }
        for (int r = 0; r < count; r++) {
            lanes x = *(const lanes *)(rows + r * inputs + at);
            for (int o = 0; o < some; o++) sums[r * some + o] += x * weight[o];
        }
    }
    for (int r = 0; r < count; r++)
        for (int o = 0; o < some; o++) {
            float sum = bias ? bias[o] : 0.0f;
            for (int i = 0; i < WIDTH; i++) sum += sums[r * some + o][i];
            for (int64_t i = at; i < inputs; i++) sum += rows[r * inputs + i] * weights[o * inputs + i];
            out[r * outputs + o] = sum;
        }
}

static void dots_of(const float *rows, const float *weights, const float *bias, int64_t inputs, int64_t count,
                    int64_t some, float *out, int64_t outputs) {
    while (count > 0) {
        int64_t now = count >= 4 ? 4 : count >= 2 ? 2 : 1;
        if (some == 4) {
            if (now == 4) dots(rows, weights, bias, inputs, 4, 4, out, outputs);
            else if (now == 2) dots(rows, weights, bias, inputs, 2, 4, out, outputs);
            else dots(rows, weights, bias, inputs, 1, 4, out, outputs);
        } else {
            for (int64_t o = 0; o < some; o++)
                for (int64_t r = 0; r < now; r++)
                    dots(rows + r * inputs, weights + o * inputs, bias ? bias + o : 0, inputs, 1, 1,
                         out + r * outputs + o, outputs);
        }
        rows += now * inputs;
        out += now * outputs;
        count -= now;
    }
}

/* Rows [count, inputs] times a matrix, transposed, plus its bias: out [count, outputs]. */
static int product(const matrix *m, const float *rows, int64_t count, float *out, int threads) {
    if (m->bits != 32) {
        int failed = m->bits == 16
                         ? multiply_halves(rows, count, m->numbers, m->outputs, m->inputs / 2, out, threads)
                         : multiply(rows, count, m->numbers, m->steps, m->leasts, m->outputs, m->inputs / GROUP,
                                    (int)m->bits, out, threads);
        if (m->bias)
            for (int64_t r = 0; r < count; r++)
                for (int64_t o = 0; o < m->outputs; o++) out[r * m->outputs + o] += m->bias[o];
        return failed;
    }
    const float *weights = m->numbers;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t o = 0; o < m->outputs; o += 4) {
        int64_t some = m->outputs - o < 4 ? m->outputs - o : 4;
        dots_of(rows, weights + o * m->inputs, m->bias ? m->bias + o : 0, m->inputs, count, some, out + o, m->outputs);
    }
    return 0;
}

static void normed(const norm *n, const float *x, int64_t size, int rms, float epsilon, float *out) {
    float mean = 0.0f, squares = 0.0f;
    if (!rms) {
        for (int64_t i = 0; i < size; i++) mean += x[i];
        mean /= (float)size;
    }
    for (int64_t i = 0; i < size; i++) squares += (x[i] - mean) * (x[i] - mean);
    float scale = 1.0f / sqrtf(squares / (float)size + epsilon);
    if (n->bias)
        for (int64_t i = 0; i < size; i++) out[i] = (x[i] - mean) * scale * n->weight[i] + n->bias[i];
    else
        for (int64_t i = 0; i < size; i++) out[i] = (x[i] - mean) * scale * n->weight[i];
}

/* 1 / (1 + e^-x), as exact below 0 as above. */
static inline float logistic(float x) {
    float e = exponential(-fabsf(x));
    return (x < 0.0f ? e : 1.0f) / (1.0f + e);
}

/* To bfloat16, to the nearest and of two as near to the even one; a NaN stays one. */
static inline uint16_t halved(float x) {
    union { float value; uint32_t bits; } wide = {x};
    if (x != x) return 0x7fc0;
    return (uint16_t)((wide.bits + 0x7fff + ((wide.bits >> 16) & 1)) >> 16);
}

/* One head turned: cosine and sine are [size], the sine's first half negative; `cosine` 0 copies. */
static inline void turned(const float *x, const float *cosine, const float *sine, int64_t size, float *out) {
    int64_t half = size / 2;
    if (!cosine) {
        memcpy(out, x, sizeof(float) * size);
        return;
    }
    for (int64_t i = 0; i < half; i++) {
        out[i] = x[i] * cosine[i] + x[i + half] * sine[i];
        out[i + half] = x[i + half] * cosine[i + half] + x[i] * sine[i + half];
    }
}

/* Rows [count, width], each of another slot, through a layer to `hidden` [count, width]. keys and values: [slots, key
   heads, capacity, size], bfloat16 where `half`; row i is written at lengths[i] - 1 and sees lengths[i]. cosine and
   sine: [count, size], or 0. */
int pass_layer(const layer *l, const float *rows, int64_t count, float *hidden, void *keys, void *values, int half,
               int64_t capacity, const int64_t *slots, const int64_t *lengths, const float *cosine, const float *sine,
               int threads) {
    int64_t width = l->qkv.inputs, size = l->size, heads = l->heads, key_heads = l->key_heads;
    int64_t mixed = l->qkv.outputs, inner = l->up.outputs, wide = heads * size;
    if (mixed != (heads + 2 * key_heads) * size || heads % key_heads || size > MOST_SIZE) return 1;
    int64_t most = mixed > inner ? mixed : inner, least = wide > width ? wide : width;
    float *first = malloc(sizeof(float) * count * (most + 2 * least)), *second, *third;
    if (!first) return 1;
    second = first + count * most;
    third = second + count * least;
    int failed = 0;
    float epsilon = (float)l->epsilon;
    memcpy(hidden, rows, sizeof(float) * count * width);

    for (int64_t r = 0; r < count; r++)
        normed(&l->attention_norm, hidden + r * width, width, l->rms, epsilon, third + r * width);
    failed |= product(&l->qkv, third, count, first, threads);
    for (int64_t r = 0; r < count; r++) {
        const float *c = cosine ? cosine + r * size : 0, *s = sine ? sine + r * size : 0;
        float *from = first + r * mixed, kept[MOST_SIZE];
        for (int64_t h = 0; h < heads + key_heads; h++) {
            const norm *n = h < heads ? &l->query_norm : &l->key_norm;
            float *head = from + h * size;
            if (n->weight) normed(n, head, size, 1, epsilon, head);
            if (c) {
                turned(head, c, s, size, kept);
                memcpy(head, kept, sizeof(float) * size);
            }
        }
        memcpy(second + r * wide, from, sizeof(float) * wide);
        for (int64_t h = 0; h < key_heads; h++) {
            int64_t to = ((slots[r] * key_heads + h) * capacity + lengths[r] - 1) * size;
            const float *key = from + wide + h * size, *value = from + (heads + key_heads + h) * size;
            if (half)
                for (int64_t i = 0; i < size; i++) {
                    ((uint16_t *)keys)[to + i] = halved(key[i]);
                    ((uint16_t *)values)[to + i] = halved(value[i]);
                }
            else {
                memcpy((float *)keys + to, key, sizeof(float) * size);
                memcpy((float *)values + to, value, sizeof(float) * size);
            }
        }
    }
    failed |= attend(second, keys, values, half, slots, lengths, count, key_heads, heads / key_heads, capacity,
                     size, 1.0f / sqrtf((float)size), third, threads);
    failed |= product(&l->output, third, count, second, threads);
    for (int64_t i = 0; i < count * width; i++) hidden[i] += second[i];

    for (int64_t r = 0; r < count; r++)
        normed(&l->mlp_norm, hidden + r * width, width, l->rms, epsilon, third + r * width);
    failed |= product(&l->up, third, count, first, threads);
    int64_t between = l->gated ? inner / 2 : inner;
    for (int64_t r = 0; r < count; r++) {
        /* Row by row and packed: no row is written over before it was read. */
        float *x = first + r * inner, *out = first + r * between;
        if (l->gated)
            for (int64_t i = 0; i < between; i++) out[i] = x[i] * logistic(x[i]) * x[between + i];
        else /* GELU by its tanh: x / 2 * (1 + tanh u) = x * logistic(2 u) */
            for (int64_t i = 0; i < between; i++)
                out[i] = x[i] * logistic(1.5957691216f * (x[i] + 0.044715f * x[i] * x[i] * x[i]));
    }
    failed |= product(&l->down, first, count, second, threads);
    for (int64_t i = 0; i < count * width; i++) hidden[i] += second[i];
    free(first);
    return failed;
}
