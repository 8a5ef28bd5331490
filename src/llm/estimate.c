
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "estimate.h"


#define LLM_ESTIMATE_BYTES  4           /* a token */


int64_t
llm_estimate(int64_t bytes)
{
    return bytes < 2 * LLM_ESTIMATE_BYTES ? 1 : bytes / LLM_ESTIMATE_BYTES;
}


int64_t
llm_spent(const llm_usage_t *usage, int64_t estimate)
{
    int64_t  input, output;

    input = usage->input >= 0 ? usage->input : estimate;
    output = usage->output >= 0 ? usage->output : 0;

    return input < INT64_MAX - output ? input + output : INT64_MAX;
}
