
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


/* what a client is answered, and from where */


#ifndef NGX_HTTP_RESILIENCE_ANSWER_H_INCLUDED
#define NGX_HTTP_RESILIENCE_ANSWER_H_INCLUDED


/* ngx_http_resilience_answer.c */

/* the attempt's header becomes the client's */
ngx_int_t ngx_http_resilience_answer_header(ngx_http_resilience_attempt_t *a);

/* the end of an answer that was passed on, as it should be or broken */
ngx_int_t ngx_http_resilience_answer_end(ngx_http_resilience_attempt_t *a);

/* an error that was kept, or else one of our own; the call is spent */
ngx_int_t ngx_http_resilience_answer_spent(ngx_http_resilience_call_t *call,
    ngx_uint_t status);

ngx_int_t ngx_http_resilience_answer_error(ngx_http_resilience_call_t *call,
    ngx_uint_t status, const char *code, const char *message);

/* so do its trailers, at the end of its body */
void ngx_http_resilience_answer_trailers(ngx_http_resilience_attempt_t *a);

ngx_int_t ngx_http_resilience_answer_send(ngx_http_request_t *r,
    ngx_uint_t status, ngx_str_t *type, ngx_str_t *body);
ngx_int_t ngx_http_resilience_answer_add(ngx_http_request_t *r,
    const char *name, ngx_str_t *value);

/* what resilience_headers wants said */
ngx_int_t ngx_http_resilience_answer_tell(ngx_http_resilience_call_t *call);

/* when a provider may be asked again, if that is known */
ngx_int_t ngx_http_resilience_answer_retry_after(
    ngx_http_resilience_call_t *call);

/* ngx_http_resilience_fallback.c */

char *ngx_http_resilience_fallback(ngx_conf_t *cf,
    ngx_http_resilience_chain_t *chain);
ngx_int_t ngx_http_resilience_fallback_send(ngx_http_resilience_call_t *call);

/* ngx_http_resilience_stale.c */

/* after the whole configuration was read; after cache_init() */
ngx_int_t ngx_http_resilience_stale_init(ngx_conf_t *cf,
    ngx_http_resilience_main_conf_t *rmcf);

/*
 * The call is spent.  NGX_OK: a cache is asked; NGX_DECLINED: there is none,
 * or none left; NGX_ERROR.
 */
ngx_int_t ngx_http_resilience_stale(ngx_http_resilience_call_t *call);
void ngx_http_resilience_stale_missed(ngx_http_resilience_attempt_t *a);
ngx_uint_t ngx_http_resilience_stale_fits(ngx_http_resilience_attempt_t *a);
ngx_int_t ngx_http_resilience_stale_tell(ngx_http_resilience_attempt_t *a);

/* ngx_http_resilience_cache.c */

/* after the whole configuration was read: which providers have a cache? */
ngx_int_t ngx_http_resilience_cache_init(ngx_conf_t *cf,
    ngx_http_resilience_main_conf_t *rmcf);
void ngx_http_resilience_cache_header(ngx_http_resilience_attempt_t *a);
void ngx_http_resilience_cache_end(ngx_http_resilience_attempt_t *a);
void ngx_http_resilience_cache_leave(ngx_http_request_t *sr);

/* does the answer come from the cache? */
ngx_uint_t ngx_http_resilience_cache_served(ngx_http_request_t *sr);

/* of one that does: is it stale, and how old is it in seconds? */
ngx_uint_t ngx_http_resilience_cache_expired(ngx_http_request_t *sr);
time_t ngx_http_resilience_cache_age(ngx_http_request_t *sr);

/* ngx_http_resilience_grpc.c */

/* looks whether the answer is gRPC's, and what it has said of itself by now */
void ngx_http_resilience_grpc(ngx_http_resilience_attempt_t *a);

/* ngx_http_resilience_filter.c */

/* is the answer an event stream? */
ngx_uint_t ngx_http_resilience_filter_events(ngx_http_request_t *sr);

/* ngx_http_resilience_request.c */

/* does the header prove who the client is? */
ngx_uint_t ngx_http_resilience_request_credential(ngx_table_elt_t *h);


#endif /* NGX_HTTP_RESILIENCE_ANSWER_H_INCLUDED */
