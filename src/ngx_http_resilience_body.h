
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#ifndef NGX_HTTP_RESILIENCE_BODY_H_INCLUDED
#define NGX_HTTP_RESILIENCE_BODY_H_INCLUDED


#include "ngx_http_resilience.h"


/* what a request's body asks for */

struct ngx_http_resilience_asked_s {
    uint64_t                         length;
    ngx_str_t                        model;    /* decoded; empty: not known */
    ngx_str_t                        options;  /* "stream_options", as they
                                                  stand; empty: not known */
    unsigned                         valid:1;  /* an object, and all that was
                                                  looked for is in here */
    unsigned                         named:1;  /* the model is a string */
    unsigned                         has_model:1;
    unsigned                         has_options:1;
    unsigned                         stream:1;
    ngx_uint_t                       nspans;
    llm_json_span_t                  spans[];  /* nspans, as they come */
};


typedef ngx_int_t (*ngx_http_resilience_piece_pt)(void *data, const u_char *p,
    size_t len);


/*
 * Reads the body where it may have to be changed for the step.  NGX_OK,
 * NGX_ERROR, or NGX_HTTP_BAD_REQUEST: the model can't be found that has to be
 * replaced.
 */
ngx_int_t ngx_http_resilience_body_check(ngx_http_resilience_call_t *call,
    ngx_http_resilience_step_t *step);

/* Reads it, once a call: call->asked is what it asks for. */
ngx_int_t ngx_http_resilience_body_scan(ngx_http_resilience_call_t *call);

/*
 * Gives the body to piece() in order, from memory or from its file.  NGX_OK,
 * also if piece() returned NGX_DONE: it has seen enough; NGX_ERROR.
 */
ngx_int_t ngx_http_resilience_body_read(ngx_http_resilience_call_t *call,
    ngx_http_resilience_piece_pt piece, void *data);

/* Does the request say that its body is JSON, or nothing? */
ngx_uint_t ngx_http_resilience_body_is_json(ngx_http_request_t *r);

/* Makes the body that the provider is to be sent. */
ngx_int_t ngx_http_resilience_body_prepare(ngx_http_resilience_attempt_t *a);

/* The model as sent in the attempt, or as asked for; empty: there is none. */
ngx_int_t ngx_http_resilience_body_model_name(ngx_http_resilience_call_t *call,
    ngx_http_resilience_attempt_t *a, ngx_str_t *name);


#endif /* NGX_HTTP_RESILIENCE_BODY_H_INCLUDED */
