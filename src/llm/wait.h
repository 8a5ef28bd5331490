
/*
 * How long the body of an error asks to wait.  Functions return ms, rounded
 * up, or 0 when nothing usable is said.
 */


#ifndef LLM_WAIT_H_INCLUDED
#define LLM_WAIT_H_INCLUDED


#include "dialect.h"


#define LLM_WAIT_BODY  16384       /* bytes of a body that are looked at */


/*
 * A body with an "error" object, which may be in an array of one, as Google's
 * and OpenRouter's are: the first of
 *
 *   error.details[] of type google.rpc.RetryInfo: retryDelay ("46s")
 *   error.availability.retry_after, error.metadata.retry_after (seconds)
 *
 * Fits llm_dialect_t.wait.
 */
uint64_t llm_wait_error(const llm_answer_t *a);

/* The retryDelay of a google.rpc.Status' "details", an array. */
uint64_t llm_wait_retry_info(llm_str_t details);


#endif /* LLM_WAIT_H_INCLUDED */
