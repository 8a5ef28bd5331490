
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "ngx_http_resilience.h"


/*
 * resilience_endpoint url [keepalive=number];
 *
 * The short way to say where a provider is: an upstream{} with keepalive and
 * the "proxy_..." directives that go with it.
 */


static ngx_uint_t ngx_http_resilience_endpoint_sets(ngx_http_conf_ctx_t *ctx,
    const char *name);
static ngx_int_t ngx_http_resilience_endpoint_url(ngx_conf_t *cf,
    ngx_http_resilience_provider_t *provider, ngx_url_t *u, ngx_uint_t *ssl);


extern ngx_module_t  ngx_http_proxy_module;


char *
ngx_http_resilience_endpoint(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_int_t                        n;
    ngx_str_t                       *value;
    ngx_url_t                        u;
    ngx_uint_t                       ssl;
    ngx_http_resilience_provider_t  *provider;

    provider = ngx_http_resilience_provider_of(cf, cmd, conf);
    if (provider == NULL) {
        return NGX_CONF_ERROR;
    }

    if (provider->endpoint.len) {
        return "is duplicate";
    }

    value = cf->args->elts;

    provider->endpoint = value[1];
    provider->keepalive = 32;

    if (cf->args->nelts == 3) {

        n = NGX_ERROR;

        if (ngx_strncmp(value[2].data, "keepalive=", 10) == 0) {
            n = ngx_atoi(value[2].data + 10, value[2].len - 10);
        }

        if (n == NGX_ERROR || n > 65535) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\", use "
                               "\"keepalive=number\"", &value[2]);
            return NGX_CONF_ERROR;
        }

        provider->keepalive = n;
    }

    if (ngx_http_resilience_endpoint_url(cf, provider, &u, &ssl) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_resilience_endpoint_url(ngx_conf_t *cf,
    ngx_http_resilience_provider_t *provider, ngx_url_t *u, ngx_uint_t *ssl)
{
    u_char      ch;
    size_t      add;
    ngx_str_t  *url;
    ngx_uint_t  i;

    url = &provider->endpoint;

    if (url->len > 8 && ngx_strncasecmp(url->data, (u_char *) "https://", 8)
        == 0)
    {
        add = 8;
        *ssl = 1;

    } else if (url->len > 7
               && ngx_strncasecmp(url->data, (u_char *) "http://", 7) == 0)
    {
        add = 7;
        *ssl = 0;

    } else {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid endpoint \"%V\", it must start with "
                           "\"http://\" or \"https://\"", url);
        return NGX_ERROR;
    }

    for (i = 0; i < url->len; i++) {
        ch = url->data[i];

        if (ch <= ' ' || ch == 0x7f || ch == '"' || ch == '\'' || ch == ';'
            || ch == '{' || ch == '}' || ch == '\\' || ch == '#')
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid character in endpoint \"%V\"", url);
            return NGX_ERROR;
        }

        if (ch == '$' || ch == '?' || ch == '@') {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "variables, arguments and user names are not "
                               "supported in endpoint \"%V\", use "
                               "\"proxy_pass\"", url);
            return NGX_ERROR;
        }
    }

    ngx_memzero(u, sizeof(ngx_url_t));

    u->url.len = url->len - add;
    u->url.data = url->data + add;
    u->default_port = *ssl ? 443 : 80;
    u->uri_part = 1;
    u->no_resolve = 1;

    if (ngx_parse_url(cf->pool, u) != NGX_OK || u->family == AF_UNIX) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%s in endpoint \"%V\"",
                           u->err ? u->err : "no host name", url);
        return NGX_ERROR;
    }

    return NGX_OK;
}


char *
ngx_http_resilience_endpoint_init(ngx_conf_t *cf, ngx_http_conf_ctx_t *ctx,
    ngx_http_resilience_provider_t *provider)
{
    char        *rv;
    u_char      *p;
    ngx_str_t    text, host;
    ngx_url_t    u;
    ngx_uint_t   ssl;

    if (ngx_http_resilience_endpoint_url(cf, provider, &u, &ssl) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    /* the authority as it was written is what Host says */

    host.data = provider->endpoint.data + (ssl ? 8 : 7);
    host.len = provider->endpoint.data + provider->endpoint.len - host.data;
    host.len -= u.uri.len;

    provider->path = u.uri;

    while (provider->path.len
           && provider->path.data[provider->path.len - 1] == '/')
    {
        provider->path.len--;
    }

    text.data = ngx_pnalloc(cf->pool, 512 + 2 * provider->name.len
                                      + 4 * host.len);
    if (text.data == NULL) {
        return NGX_CONF_ERROR;
    }

    p = ngx_sprintf(text.data, "upstream " NGX_HTTP_RESILIENCE_UPSTREAM "%V"
                    "{server %V:%ui;", &provider->name, &u.host,
                    (ngx_uint_t) (u.no_port ? u.default_port : u.port));

    if (provider->keepalive) {
        p = ngx_sprintf(p, "keepalive %ui;", provider->keepalive);
    }

    *p++ = '}';

    text.len = p - text.data;

    rv = ngx_http_resilience_provider_text(cf, cf->ctx, NGX_HTTP_MAIN_CONF,
                                           &text);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    p = ngx_sprintf(text.data, "proxy_pass http%s://"
                    NGX_HTTP_RESILIENCE_UPSTREAM "%V;",
                    ssl ? "s" : "", &provider->name);

    if (!ngx_http_resilience_endpoint_sets(ctx, "Host")) {
        p = ngx_sprintf(p, "proxy_set_header Host %V;", &host);
    }

    if (!ngx_http_resilience_endpoint_sets(ctx, "Connection")) {
        p = ngx_sprintf(p, "proxy_set_header Connection '';");
    }

    if (ssl) {
        p = ngx_sprintf(p, "proxy_ssl_name %V;", &u.host);
    }

    text.len = p - text.data;

    return ngx_http_resilience_provider_text(cf, ctx, NGX_HTTP_LOC_CONF, &text);
}


/*
 * Has the provider a "proxy_set_header" of its own for that header?  Where
 * the proxy module keeps them, its table of directives tells.
 */

static ngx_uint_t
ngx_http_resilience_endpoint_sets(ngx_http_conf_ctx_t *ctx, const char *name)
{
    u_char         *conf;
    ngx_uint_t      i;
    ngx_array_t    *headers;
    ngx_command_t  *cmd;
    ngx_keyval_t   *kv;

    for (cmd = ngx_http_proxy_module.commands; cmd->name.len; cmd++) {
        if (ngx_strcmp(cmd->name.data, "proxy_set_header") == 0) {
            break;
        }
    }

    if (cmd->name.len == 0) {
        return 0;
    }

    conf = ctx->loc_conf[ngx_http_proxy_module.ctx_index];
    headers = *(ngx_array_t **) (conf + cmd->offset);

    if (headers == NULL || headers == NGX_CONF_UNSET_PTR) {
        return 0;
    }

    kv = headers->elts;

    for (i = 0; i < headers->nelts; i++) {
        if (kv[i].key.len == ngx_strlen(name)
            && ngx_strncasecmp(kv[i].key.data, (u_char *) name, kv[i].key.len)
               == 0)
        {
            return 1;
        }
    }

    return 0;
}
