
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#ifndef NGX_HTTP_RESILIENCE_USAGE_H_INCLUDED
#define NGX_HTTP_RESILIENCE_USAGE_H_INCLUDED


#include "ngx_http_resilience.h"


/* bytes of an event that was asked for and is taken out, at most */
#define NGX_HTTP_RESILIENCE_ASKED_EVENT  2048


/* ngx_http_resilience_usage.c */

/* What a whole answer, or an event of a stream, tells of tokens. */
void ngx_http_resilience_usage_body(ngx_http_resilience_attempt_t *a,
    llm_str_t body);
void ngx_http_resilience_usage_event(ngx_http_resilience_attempt_t *a,
    llm_event_t *event);

/* The same of an answer that is not held, as it passes by. */
void ngx_http_resilience_usage_pass(ngx_http_resilience_attempt_t *a,
    ngx_chain_t *in);

/* The same of an event that is longer than what is kept of one. */
void ngx_http_resilience_usage_over(void *ctx, const u_char *data, size_t len,
    int first);

/* The attempt is over: counts what was told. */
void ngx_http_resilience_usage_record(ngx_http_resilience_attempt_t *a);


/*
 * ngx_http_resilience_strip.c: takes an event out of a stream.  For each
 * buffer: start, event for each one that ends in it, end.  NGX_OK or
 * NGX_ERROR.
 */

ngx_int_t ngx_http_resilience_strip_init(ngx_http_resilience_attempt_t *a);
ngx_int_t ngx_http_resilience_strip_start(ngx_http_resilience_attempt_t *a,
    ngx_buf_t *b);

/* pos: behind the event; drop: it is the one */
ngx_int_t ngx_http_resilience_strip_event(ngx_http_resilience_strip_t *s,
    llm_event_t *event, const u_char *pos, ngx_uint_t drop);

ngx_int_t ngx_http_resilience_strip_end(ngx_http_resilience_attempt_t *a);

/*
 * What is left of them, NULL: nothing, or nothing yet; and, when that was
 * passed on, its links.
 */
ngx_chain_t *ngx_http_resilience_strip_out(ngx_http_resilience_strip_t *s);
void ngx_http_resilience_strip_sent(ngx_http_resilience_strip_t *s,
    ngx_chain_t *out);


#endif /* NGX_HTTP_RESILIENCE_USAGE_H_INCLUDED */
