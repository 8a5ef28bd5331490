
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#ifndef NGX_HTTP_RESILIENCE_EVENTS_H_INCLUDED
#define NGX_HTTP_RESILIENCE_EVENTS_H_INCLUDED


#include "ngx_http_resilience.h"


typedef enum {
    NGX_HTTP_RESILIENCE_NOTHING = 0,        /* noise so far */
    NGX_HTTP_RESILIENCE_MEANING,
    NGX_HTTP_RESILIENCE_TROUBLE             /* an error, or an early end */
} ngx_http_resilience_sight_e;


/* The attempt's answer is a stream: it will be read, event by event. */
ngx_int_t ngx_http_resilience_events_init(ngx_http_resilience_attempt_t *a);

/*
 * Reads the events of a stream, wherever it is on its way.  *committed is the
 * outcome of an attempt which commits by it.
 */
ngx_int_t ngx_http_resilience_events(ngx_http_resilience_attempt_t *a,
    ngx_chain_t *in, ngx_http_resilience_sight_e *sight,
    res_outcome_e *committed);

/* ngx_http_resilience_filter.c: the buffers are not wanted any more */
void ngx_http_resilience_filter_discard(ngx_chain_t *in);


#endif /* NGX_HTTP_RESILIENCE_EVENTS_H_INCLUDED */
