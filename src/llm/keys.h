
/*
 * A file of keys: one a line, the white space around it dropped.  Blank lines
 * and lines that begin with a "#" are no keys, a line may end with CR LF, and
 * a byte order mark at the beginning is passed over.
 */


#ifndef LLM_KEYS_H_INCLUDED
#define LLM_KEYS_H_INCLUDED


#include "llm.h"


#define LLM_KEY_MAX  4095          /* bytes of one key */


typedef enum {
    LLM_KEY_END = 0,               /* there is no further line */
    LLM_KEY_GOOD,
    LLM_KEY_LONG,                  /* more than LLM_KEY_MAX bytes */
    LLM_KEY_BAD                    /* white space in it, a control character,
                                      or one that is not of ASCII */
} llm_key_e;


typedef struct {
    const unsigned char  *pos;
    const unsigned char  *last;
    unsigned              line;    /* the one that was read last, from 1 */
} llm_keys_t;


void llm_keys_init(llm_keys_t *keys, llm_str_t text);

/* The next line that is to be a key. */
llm_key_e llm_keys_next(llm_keys_t *keys, llm_str_t *key);


#endif /* LLM_KEYS_H_INCLUDED */
