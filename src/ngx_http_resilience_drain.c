
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "ngx_http_resilience.h"


/*
 * A worker that ends gracefully lets its calls run, until
 * worker_shutdown_timeout cuts their connections.  A little earlier they are
 * ended with an error that the client understands.
 *
 * When a worker begins to end it calls the handlers of its idle connections:
 * one of them is ours and is no connection at all.
 */


#define NGX_HTTP_RESILIENCE_DRAIN  500      /* ms before the cut, at most */


static void ngx_http_resilience_drain_begin(ngx_event_t *rev);
static void ngx_http_resilience_drain_end(ngx_event_t *ev);


static ngx_event_t  ngx_http_resilience_drain_event;


ngx_int_t
ngx_http_resilience_drain_start(ngx_cycle_t *cycle)
{
    ngx_connection_t  *c;

    if (ngx_http_resilience_zone_get(cycle) == NULL) {
        return NGX_OK;
    }

    c = ngx_get_connection(0, cycle->log);
    if (c == NULL) {
        return NGX_ERROR;
    }

    c->fd = (ngx_socket_t) -2;
    c->idle = 1;
    c->data = cycle;
    c->read->handler = ngx_http_resilience_drain_begin;
    c->read->log = cycle->log;

    return NGX_OK;
}


static void
ngx_http_resilience_drain_begin(ngx_event_t *rev)
{
    ngx_msec_t         timeout;
    ngx_cycle_t       *cycle;
    ngx_event_t       *ev;
    ngx_core_conf_t   *ccf;
    ngx_connection_t  *c;

    c = rev->data;
    cycle = c->data;

    c->fd = (ngx_socket_t) -1;
    c->idle = 0;
    ngx_free_connection(c);

    ccf = (ngx_core_conf_t *) ngx_get_conf(cycle->conf_ctx, ngx_core_module);

    if (!ngx_exiting || ccf->shutdown_timeout == 0) {
        return;
    }

    timeout = ccf->shutdown_timeout;
    timeout -= ngx_min(NGX_HTTP_RESILIENCE_DRAIN, timeout / 4);

    ev = &ngx_http_resilience_drain_event;

    ev->handler = ngx_http_resilience_drain_end;
    ev->data = cycle;
    ev->log = cycle->log;
    ev->cancelable = 1;

    ngx_add_timer(ev, timeout);
}


static void
ngx_http_resilience_drain_end(ngx_event_t *ev)
{
    ngx_http_resilience_calls_end();
}
