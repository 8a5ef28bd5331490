
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#ifndef NGX_HTTP_RESILIENCE_STATUS_H_INCLUDED
#define NGX_HTTP_RESILIENCE_STATUS_H_INCLUDED


#include "ngx_http_resilience.h"


#define NGX_HTTP_RESILIENCE_BATCH   32      /* cells copied at a time */
#define NGX_HTTP_RESILIENCE_LOOK    20000   /* cells looked at for a page */


/* what is asked for */

typedef struct {
    ngx_str_t                        tenant;
    ngx_str_t                        provider;
    ngx_int_t                        state;   /* -1: any */
    ngx_uint_t                       limit;
    uint64_t                         after;   /* an earlier walk's phase and
                                                 n */
    unsigned                         by_tenant:1;
    unsigned                         by_provider:1;
    unsigned                         ordered:1;   /* by state */
    unsigned                         json:1;      /* is what is wanted */
} ngx_http_resilience_query_t;


/* a page of breakers; see ngx_http_resilience_walk.c */

typedef struct {
    ngx_http_resilience_query_t     *query;
    ngx_http_resilience_zone_t      *zone;
    ngx_uint_t                       phase;
    uint32_t                         n;       /* to be looked at */
    ngx_uint_t                       limit;   /* still to be found, at most */
    ngx_uint_t                       left;    /* to be looked at, at most */
    ngx_uint_t                       over;    /* there are no more */
} ngx_http_resilience_walk_t;


void ngx_http_resilience_walk_init(ngx_http_resilience_walk_t *walk,
    ngx_http_resilience_zone_t *zone, ngx_http_resilience_query_t *q);

/*
 * Copies some of the breakers that are asked for to a batch of
 * NGX_HTTP_RESILIENCE_BATCH; 0: this page has no more.
 */
ngx_uint_t ngx_http_resilience_walk_next(ngx_http_resilience_walk_t *walk,
    res_cell_t *batch);

/* Is it a provider that is asked for? */
ngx_uint_t ngx_http_resilience_walk_names(ngx_http_resilience_query_t *q,
    ngx_http_resilience_counters_t *provider);

/* "transitions" of the JSON */
void ngx_http_resilience_transition_json(ngx_http_resilience_zone_t *zone,
    ngx_http_resilience_query_t *q, ngx_http_resilience_out_t *out);


#endif /* NGX_HTTP_RESILIENCE_STATUS_H_INCLUDED */
