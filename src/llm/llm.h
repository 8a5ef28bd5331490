
/*
 * What the LLM layer's files share.  This layer knows bytes and outcome
 * classes, and nothing of nginx.
 */


#ifndef LLM_H_INCLUDED
#define LLM_H_INCLUDED


#include <stddef.h>
#include <stdint.h>
#include <string.h>


typedef struct {
    size_t                len;
    const unsigned char  *data;
} llm_str_t;

#define llm_string(text)  { sizeof(text) - 1, (const unsigned char *) text }


/* tokens of a call, as its answer has them; negative: unknown */

typedef struct {
    int64_t               input;
    int64_t               output;
} llm_usage_t;


/*
 * Eight bytes at a time: llm_word_has() is true if any byte of the word is c,
 * llm_word_below() if any is less than n, n <= 128; llm_word_first() is the
 * first such byte's index then, also of several of these joined by "|".
 */

#define LLM_WORD_ONES  ((uint64_t) -1 / 255)
#define LLM_WORD_HIGH  (LLM_WORD_ONES * 128)

#define llm_word_below(w, n)                                                  \
    (((w) - LLM_WORD_ONES * (n)) & ~(w) & LLM_WORD_HIGH)

#define llm_word_has(w, c)  llm_word_below((w) ^ (LLM_WORD_ONES * (c)), 1)

#define llm_word_first(w)   (__builtin_ctzll(w) / 8)


/* of the bytes at p, the first one is the lowest */

static inline uint64_t
llm_word(const unsigned char *p)
{
    uint64_t  w;

    memcpy(&w, p, 8);

#if (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__)
    w = __builtin_bswap64(w);
#endif

    return w;
}


#endif /* LLM_H_INCLUDED */
