
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "ngx_http_resilience.h"


/* models by name: where a request has it, and what a provider calls it */


ngx_uint_t
ngx_http_resilience_model_in_path(ngx_http_resilience_call_t *call,
    ngx_http_resilience_provider_t *provider, llm_str_t *name)
{
    llm_str_t  path;

    if (provider->dialect->model == NULL) {
        return 0;
    }

    path.data = call->request->uri.data;
    path.len = call->request->uri.len;

    return provider->dialect->model(path, name);
}


ngx_http_resilience_model_t *
ngx_http_resilience_model_match(ngx_http_resilience_provider_t *provider,
    const u_char *name, size_t len)
{
    ngx_uint_t                    i;
    ngx_http_resilience_model_t  *model, *any;

    model = provider->models->elts;
    any = NULL;

    for (i = 0; i < provider->models->nelts; i++) {

        if (model[i].from.len == 0) {
            any = &model[i];
            continue;
        }

        if (name && model[i].from.len == len
            && ngx_memcmp(model[i].from.data, name, len) == 0)
        {
            return &model[i];
        }
    }

    return any;
}
