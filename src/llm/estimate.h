
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */

/*
 * What a call costs in tokens: a guess while only the size of its request is
 * known, and what it came to when its answer is.
 */


#ifndef LLM_ESTIMATE_H_INCLUDED
#define LLM_ESTIMATE_H_INCLUDED


#include "llm.h"


/*
 * Tokens of a request whose body has so many bytes (negative: unknown), by
 * the rule of thumb that four bytes are one; 1 at least.  What it may answer
 * is not in it.
 */
int64_t llm_estimate(int64_t bytes);

/*
 * Tokens of a call, 0 and more: what its answer says of input and output.
 * Without a word of its input, that is as it was estimated; without one of
 * its output, there was none that could be counted.
 */
int64_t llm_spent(const llm_usage_t *usage, int64_t estimate);


#endif /* LLM_ESTIMATE_H_INCLUDED */
