
/*
 * What the LLM layer's files share.  This layer knows bytes and outcome
 * classes, and nothing of nginx.
 */


#ifndef LLM_H_INCLUDED
#define LLM_H_INCLUDED


#include <stddef.h>
#include <stdint.h>


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
 * llm_word_below() if any is less than n, n <= 128.
 */

#define LLM_WORD_ONES  ((uint64_t) -1 / 255)
#define LLM_WORD_HIGH  (LLM_WORD_ONES * 128)

#define llm_word_below(w, n)                                                  \
    (((w) - LLM_WORD_ONES * (n)) & ~(w) & LLM_WORD_HIGH)

#define llm_word_has(w, c)  llm_word_below((w) ^ (LLM_WORD_ONES * (c)), 1)


#endif /* LLM_H_INCLUDED */
