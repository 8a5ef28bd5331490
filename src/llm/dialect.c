
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "dialect.h"

#include <string.h>


static const llm_dialect_t *const  dialects[] = {
    &llm_dialect_none,
    &llm_dialect_openai,
    &llm_dialect_anthropic,
    &llm_dialect_azure,
    &llm_dialect_gemini,
    NULL
};


const llm_dialect_t *
llm_dialect_get(unsigned n)
{
    return (n < sizeof(dialects) / sizeof(dialects[0])) ? dialects[n] : NULL;
}


const llm_dialect_t *
llm_dialect_find(const char *name, size_t len)
{
    const llm_dialect_t *const  *d;

    for (d = dialects; *d; d++) {

        if ((*d)->name.len == len && memcmp((*d)->name.data, name, len) == 0) {
            return *d;
        }
    }

    return NULL;
}
