
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "ngx_http_resilience_body.h"


/*
 * Requests that only the provider can answer that was asked before: they are
 * sent to the first one that the chain names, and to no other.
 */


static ngx_int_t ngx_http_resilience_bound_piece(void *data, const u_char *p,
    size_t len);


ngx_int_t
ngx_http_resilience_bound(ngx_http_resilience_call_t *call)
{
    llm_str_t                        path;
    llm_bound_t                      bound;
    const llm_dialect_t             *dialect;
    ngx_http_request_t              *r;
    ngx_http_resilience_provider_t  *provider;

    r = call->request;
    provider = call->chain->order[0]->provider;
    dialect = provider->dialect;

    if (dialect->bound_members == NULL || call->chain->steps.nelts == 1
        || call->no_fallback)
    {
        return NGX_OK;
    }

    path.len = r->uri.len;
    path.data = r->uri.data;

    if (llm_bound_path(dialect->bound_paths, path)) {
        call->no_fallback = 1;

    } else if (ngx_http_resilience_body_is_json(r)) {

        ngx_memzero(&bound, sizeof(llm_bound_t));
        bound.members = dialect->bound_members;

        if (ngx_http_resilience_body_read(call,
                                          ngx_http_resilience_bound_piece,
                                          &bound)
            != NGX_OK)
        {
            return NGX_ERROR;
        }

        call->no_fallback = llm_bound_found(&bound);
    }

    if (call->no_fallback) {
        call->steps = call->chain->order;

        ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                      "request is bound to provider \"%V\"", &provider->name);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_resilience_bound_piece(void *data, const u_char *p, size_t len)
{
    llm_bound_t *bound = data;

    return llm_bound_scan(bound, p, len) ? NGX_DONE : NGX_OK;
}
