
/*
 * JSON made short on its way: what is deep in it is left out and long strings
 * lose their ends, so that the rest of a text of any size, the names and the
 * short values near its top, fits where the text does not.  A well-formed text
 * stays one.
 */


#ifndef LLM_DIGEST_H_INCLUDED
#define LLM_DIGEST_H_INCLUDED


#include "llm.h"


#define LLM_DIGEST_DEPTH   6       /* what is deeper is left out */
#define LLM_DIGEST_STRING  64      /* bytes of a string that are kept, about */


/* A text being read; it starts zeroed. */

typedef struct {
    uint32_t              depth;
    uint32_t              run;     /* bytes of the string so far */
    unsigned              hex:3;   /* digits of a \u that are to come */
    unsigned              digit:4; /* its first one */
    unsigned              half:1;  /* of a pair of them, the first was read */
    unsigned              string:1;
    unsigned              escape:1;
    unsigned              drop:1;  /* the rest of the string */
    unsigned              full:1;  /* there was no room for all of it */
} llm_digest_t;


/*
 * Reads on; writes at most size bytes, and not more than len, to out, which
 * may be data itself.  Returns how many were written.  O(len).
 */
size_t llm_digest(llm_digest_t *d, const unsigned char *data, size_t len,
    unsigned char *out, size_t size);


#endif /* LLM_DIGEST_H_INCLUDED */
