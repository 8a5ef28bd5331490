
/*
 * Requests that are bound to the provider that was asked before: they refer to
 * what is stored there, or carry what it alone can read.  No other provider
 * can answer them.
 */


#ifndef LLM_BOUND_H_INCLUDED
#define LLM_BOUND_H_INCLUDED


#include "llm.h"


#define LLM_BOUND_TEXT  32         /* longest name, longest beginning */


/*
 * A member, at whatever depth, whose value is a string that begins so, and is
 * not empty.  Tables end with a name of NULL.
 */

typedef struct {
    const char           *name;
    const char           *begins;
} llm_bound_member_t;


/* The body, in pieces; starts zeroed but for its members. */

typedef struct {
    const llm_bound_member_t  *members;

    unsigned              state;
    uint32_t              matching;     /* members that are left, as bits */
    size_t                len;          /* bytes seen of the name or value */
} llm_bound_t;


/*
 * Looks at the next piece of a JSON text; returns 1 as soon as it is known to
 * be bound, and the rest need not be given, else 0.  O(len) at memchr()'s
 * speed: a quote inside a string is escaped, so a quote, a name and a quote
 * are a whole string wherever they stand.  A name that is written with escapes
 * is not recognised.
 */
int llm_bound_scan(llm_bound_t *b, const unsigned char *data, size_t len);

/* Is it known to be bound by now? */
int llm_bound_found(const llm_bound_t *b);

/*
 * Is one of these words, which end with NULL, a segment of the path?  One with
 * a slash at its end has to be followed by another segment.
 */
int llm_bound_path(const char *const *words, llm_str_t path);


#endif /* LLM_BOUND_H_INCLUDED */
