
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "ngx_http_resilience.h"


/*
 * POST ?provider=name[&tenant=name]&action=reset|open|close|disable|auto
 *
 * Of one tenant's breaker, or of all that a provider has and will have.
 */


typedef struct {
    ngx_str_t              name;
    res_forced_e           forced;
    ngx_uint_t             reset;
} ngx_http_resilience_action_t;


static ngx_http_resilience_action_t *ngx_http_resilience_admin_action(
    ngx_str_t *name);
static ngx_uint_t ngx_http_resilience_admin_foreign(ngx_http_request_t *r);
static ngx_uint_t ngx_http_resilience_admin_is(ngx_str_t *value,
    const char *word);
static void ngx_http_resilience_admin_port(ngx_str_t *host,
    ngx_uint_t https);


static ngx_http_resilience_action_t  ngx_http_resilience_actions[] = {
    { ngx_string("reset"), RES_FORCED_NONE, 1 },
    { ngx_string("open"), RES_FORCED_OPEN, 0 },
    { ngx_string("close"), RES_FORCED_CLOSED, 0 },
    { ngx_string("disable"), RES_FORCED_DISABLED, 0 },
    { ngx_string("auto"), RES_FORCED_NONE, 0 },
    { ngx_null_string, RES_FORCED_NONE, 0 }
};


ngx_int_t
ngx_http_resilience_admin(ngx_http_request_t *r,
    ngx_http_resilience_zone_t *zone)
{
    ngx_int_t                        rc;
    ngx_str_t                        name, tenant, *one;
    ngx_http_resilience_action_t    *action;
    ngx_http_resilience_counters_t  *provider;

    if (ngx_http_resilience_admin_foreign(r)) {
        return ngx_http_resilience_status_say(r, NGX_HTTP_FORBIDDEN, "error",
                                              "a page of another site asks");
    }

    rc = ngx_http_resilience_status_arg(r, "action", &name);
    if (rc == NGX_ERROR) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    action = (rc == NGX_OK) ? ngx_http_resilience_admin_action(&name) : NULL;

    if (action == NULL) {
        return ngx_http_resilience_status_say(r, NGX_HTTP_BAD_REQUEST, "error",
                    "action is to be reset, open, close, disable or auto");
    }

    rc = ngx_http_resilience_status_arg(r, "tenant", &tenant);
    if (rc == NGX_ERROR) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    one = (rc == NGX_OK) ? &tenant : NULL;

    rc = ngx_http_resilience_status_arg(r, "provider", &name);
    if (rc == NGX_ERROR) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (rc == NGX_DECLINED) {
        return ngx_http_resilience_status_say(r, NGX_HTTP_BAD_REQUEST, "error",
                                              "provider is to be named");
    }

    provider = ngx_http_resilience_zone_find(zone->shared, name.data,
                                             name.len);

    if (provider == NULL
        || ngx_http_resilience_permit_say(zone, provider, one, action->forced,
                                          action->reset)
           != NGX_OK)
    {
        return ngx_http_resilience_status_say(r, NGX_HTTP_NOT_FOUND, "error",
                                              "there is no such breaker");
    }

    if (one) {
        ngx_log_error(NGX_LOG_NOTICE, r->connection->log, 0,
                      "admin: %V breaker of tenant \"%V\" and provider "
                      "\"%V\"", &action->name, one, &name);

    } else {
        ngx_log_error(NGX_LOG_NOTICE, r->connection->log, 0,
                      "admin: %V breakers of all tenants of provider \"%V\"",
                      &action->name, &name);
    }

    return ngx_http_resilience_status_say(r, NGX_HTTP_OK, "action",
                                          (char *) action->name.data);
}


static ngx_http_resilience_action_t *
ngx_http_resilience_admin_action(ngx_str_t *name)
{
    ngx_http_resilience_action_t  *action;

    for (action = ngx_http_resilience_actions; action->name.len; action++) {
        if (action->name.len == name->len
            && ngx_strncmp(action->name.data, name->data, name->len) == 0)
        {
            return action;
        }
    }

    return NULL;
}


/*
 * A browser says where a page is from that sends a POST; a page elsewhere
 * must not make its reader's browser open breakers.
 */

static ngx_uint_t
ngx_http_resilience_admin_foreign(ngx_http_request_t *r)
{
    ngx_str_t         host, own;
    ngx_uint_t        https;
    ngx_table_elt_t  *origin, *site;

    site = ngx_http_resilience_header(&r->headers_in.headers, "sec-fetch-site");

    if (site && !ngx_http_resilience_admin_is(&site->value, "same-origin")
        && !ngx_http_resilience_admin_is(&site->value, "none"))
    {
        return 1;
    }

    origin = ngx_http_resilience_header(&r->headers_in.headers, "origin");

    if (origin == NULL) {
        return 0;
    }

    host = origin->value;

    if (host.len > 7 && ngx_strncasecmp(host.data, (u_char *) "http://", 7)
        == 0)
    {
        https = 0;

    } else if (host.len > 8
               && ngx_strncasecmp(host.data, (u_char *) "https://", 8) == 0)
    {
        https = 1;

    } else {
        return 1;
    }

    host.data += 7 + https;
    host.len -= 7 + https;

    if (r->headers_in.host) {
        own = r->headers_in.host->value;

    } else if (r->host_start) {
        own.data = r->host_start;
        own.len = r->host_end - r->host_start;

    } else {
        return 1;
    }

    ngx_http_resilience_admin_port(&host, https);
    ngx_http_resilience_admin_port(&own, https);

    return host.len != own.len
           || ngx_strncasecmp(host.data, own.data, own.len) != 0;
}


static ngx_uint_t
ngx_http_resilience_admin_is(ngx_str_t *value, const char *word)
{
    return value->len == ngx_strlen(word)
           && ngx_strncmp(value->data, word, value->len) == 0;
}


/* a port that goes without saying may yet be said */

static void
ngx_http_resilience_admin_port(ngx_str_t *host, ngx_uint_t https)
{
    size_t       len;
    const char  *port;

    port = https ? ":443" : ":80";
    len = ngx_strlen(port);

    if (host->len > len
        && ngx_strncmp(host->data + host->len - len, port, len) == 0)
    {
        host->len -= len;
    }
}
