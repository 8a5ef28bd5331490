
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "ngx_http_resilience.h"


/*
 * gRPC says how a request went in "grpc-status": a trailer, or a header of an
 * answer that has no body.
 */


void
ngx_http_resilience_grpc(ngx_http_resilience_attempt_t *a)
{
    ngx_int_t             n;
    ngx_str_t            *type;
    ngx_table_elt_t      *h;
    ngx_http_request_t   *sr;

    sr = a->request;
    type = &sr->headers_out.content_type;

    if (type->len < sizeof("application/grpc") - 1
        || ngx_strncasecmp(type->data, (u_char *) "application/grpc",
                           sizeof("application/grpc") - 1)
           != 0)
    {
        return;
    }

    a->grpc = 1;

    h = ngx_http_resilience_header(&sr->headers_out.headers, "grpc-status");

    if (h == NULL) {
        h = ngx_http_resilience_header(&sr->headers_out.trailers,
                                       "grpc-status");
    }

    if (h == NULL) {
        return;
    }

    n = ngx_atoi(h->value.data, h->value.len);

    a->grpc_status = (n == NGX_ERROR) ? 2 /* UNKNOWN */ : (ngx_uint_t) n;
}
