
/*
 * How many tokens a call took, as its answer tells: read out of a whole text,
 * or out of one that only passes by, in pieces of any size.
 */


#ifndef LLM_USAGE_H_INCLUDED
#define LLM_USAGE_H_INCLUDED


#include "dialect.h"
#include "json.h"


#define LLM_USAGE_TEXT  2048       /* bytes of a value that can be read */


typedef struct {
    const llm_dialect_t  *dialect;
    uint32_t              nread;   /* values that were read */
    llm_json_scan_t       scan;
    unsigned char         buf[LLM_USAGE_TEXT];
} llm_usage_scan_t;


/* Nothing is known. */
void llm_usage_init(llm_usage_t *u);

/*
 * Notes a count that was told, a JSON value; anything but a number from 0 to
 * 10^15 - 1 is passed over.  Counts told anew are totals so far: the greatest
 * stays.
 */
void llm_usage_note(int64_t *tokens, llm_str_t value);

/* The same for a number; negative: nothing was told. */
void llm_usage_most(int64_t *tokens, int64_t n);

/* A count, or -1 if the value is none. */
int64_t llm_usage_number(llm_str_t value);

/* What a whole answer, or the data of an event, tells. */
void llm_usage_read(const llm_dialect_t *d, llm_str_t text, llm_usage_t *u);

/*
 * The same for a text in pieces: O(len), and nothing is kept but the values
 * that are looked for.  Values longer than LLM_USAGE_TEXT are not read.
 */
void llm_usage_scan_init(llm_usage_scan_t *s, const llm_dialect_t *d);
void llm_usage_scan(llm_usage_scan_t *s, const unsigned char *data, size_t len,
    llm_usage_t *u);

/* A piece is missing: what comes next is not looked at. */
void llm_usage_scan_stop(llm_usage_scan_t *s);


#endif /* LLM_USAGE_H_INCLUDED */
