
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "ngx_http_resilience.h"


/*
 * resilience_provider name { ... }
 *
 * The body is a real location.  It belongs to a server that listens nowhere,
 * so that no request can find it, and that carries the defaults: nginx merges
 * them into the locations as it always does, and a provider's own directive
 * wins.  An attempt is sent there by hand.
 */


#define NGX_HTTP_RESILIENCE_SETTINGS  8192   /* bytes of text, at most */


static ngx_http_conf_ctx_t *ngx_http_resilience_provider_server(
    ngx_conf_t *cf, ngx_http_resilience_main_conf_t *rmcf);
static char *ngx_http_resilience_provider_defaults(ngx_conf_t *cf,
    ngx_http_conf_ctx_t *ctx);
static u_char *ngx_http_resilience_provider_protocol(ngx_conf_t *cf,
    u_char *p, u_char *last, ngx_uint_t n, const char *ca);
static char *ngx_http_resilience_provider_body(ngx_conf_t *cf,
    ngx_http_conf_ctx_t *ctx, ngx_http_resilience_provider_t *provider);
static char *ngx_http_resilience_provider_check(ngx_conf_t *cf,
    ngx_http_core_loc_conf_t *clcf, ngx_http_resilience_provider_t *provider);
static ngx_int_t ngx_http_resilience_provider_name(ngx_conf_t *cf,
    ngx_str_t *name);


static ngx_str_t  ngx_http_resilience_provider_settings = ngx_string(
    "proxy_http_version 1.1;"
    "proxy_set_header Connection '';"
    "proxy_buffering off;"
    "proxy_next_upstream off;"
    "proxy_redirect off;"
    "proxy_intercept_errors off;"
    "proxy_ignore_client_abort off;"
    "proxy_ssl_server_name on;"
    "proxy_ssl_verify on;"
    "proxy_ssl_verify_depth 5;"

    /* the policy's timeouts are the ones that count */

    "proxy_connect_timeout 1h;"
    "proxy_send_timeout 1h;"
    "proxy_read_timeout 1h;"

    /* a provider steers nothing in here */

    "proxy_ignore_headers X-Accel-Redirect X-Accel-Expires"
    " X-Accel-Limit-Rate X-Accel-Buffering X-Accel-Charset;"
);


/* the same for what else a location may pass to, if nginx has it */

static struct {
    const char  *module;
    const char  *prefix;
    ngx_uint_t   headers;
    ngx_uint_t   buffering;
    ngx_uint_t   ssl;
} ngx_http_resilience_provider_protocols[] = {
    { "ngx_http_grpc_module", "grpc", 1, 0, 1 },
    { "ngx_http_fastcgi_module", "fastcgi", 1, 1, 0 },
    { "ngx_http_uwsgi_module", "uwsgi", 1, 1, 0 },
    { "ngx_http_scgi_module", "scgi", 1, 1, 0 },
    { "ngx_http_memcached_module", "memcached", 0, 0, 0 },
    { NULL, NULL, 0, 0, 0 }
};


/* where the systems keep their certificate authorities in one file */

static char  *ngx_http_resilience_ca_files[] = {
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    NULL
};


char *
ngx_http_resilience_provider(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_resilience_main_conf_t *rmcf = conf;

    char                             *rv;
    ngx_str_t                        *value;
    ngx_http_conf_ctx_t              *ctx;
    ngx_http_resilience_provider_t   *provider, **slot;

    value = cf->args->elts;

    if (ngx_http_resilience_provider_name(cf, &value[1]) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    if (ngx_http_resilience_provider_find(rmcf, &value[1])) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "duplicate provider \"%V\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    if (rmcf->providers.nelts == NGX_HTTP_RESILIENCE_PROVIDERS) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "too many providers, there may be %d",
                           NGX_HTTP_RESILIENCE_PROVIDERS);
        return NGX_CONF_ERROR;
    }

    provider = ngx_pcalloc(cf->pool, sizeof(ngx_http_resilience_provider_t));
    slot = ngx_array_push(&rmcf->providers);

    if (provider == NULL || slot == NULL) {
        return NGX_CONF_ERROR;
    }

    *slot = provider;

    provider->name = value[1];
    provider->place.file = cf->conf_file->file.name.data;
    provider->place.line = cf->conf_file->line;
    provider->dialect = &llm_dialect_none;
    provider->hold = 64 * 1024;
    provider->usage = NGX_CONF_UNSET;

    ctx = rmcf->providers_ctx;

    if (ctx == NULL) {
        ctx = ngx_http_resilience_provider_server(cf, rmcf);
        if (ctx == NULL) {
            return NGX_CONF_ERROR;
        }

        rv = ngx_http_resilience_provider_defaults(cf, ctx);
        if (rv != NGX_CONF_OK) {
            return rv;
        }

        rmcf->providers_ctx = ctx;
    }

    return ngx_http_resilience_provider_body(cf, ctx, provider);
}


ngx_http_resilience_provider_t *
ngx_http_resilience_provider_find(ngx_http_resilience_main_conf_t *rmcf,
    ngx_str_t *name)
{
    ngx_uint_t                        i;
    ngx_http_resilience_provider_t  **providers;

    providers = rmcf->providers.elts;

    for (i = 0; i < rmcf->providers.nelts; i++) {
        if (providers[i]->name.len == name->len
            && ngx_memcmp(providers[i]->name.data, name->data, name->len) == 0)
        {
            return providers[i];
        }
    }

    return NULL;
}


ngx_http_resilience_provider_t *
ngx_http_resilience_provider_of(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_resilience_loc_conf_t *rlcf = conf;

    if (rlcf->provider == NULL) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" directive is allowed in the block of "
                           "a \"resilience_provider\" only", &cmd->name);
    }

    return rlcf->provider;
}


static ngx_int_t
ngx_http_resilience_provider_name(ngx_conf_t *cf, ngx_str_t *name)
{
    u_char      ch;
    ngx_uint_t  i;

    if (name->len == 0 || name->len > NGX_HTTP_RESILIENCE_NAME) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid provider name \"%V\", it must have 1 to "
                           "%d characters", name, NGX_HTTP_RESILIENCE_NAME);
        return NGX_ERROR;
    }

    for (i = 0; i < name->len; i++) {
        ch = name->data[i];

        if ((ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z')
            || (ch >= '0' && ch <= '9') || ch == '_' || ch == '-' || ch == '.')
        {
            continue;
        }

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid provider name \"%V\", it may have "
                           "letters, digits, \"_\", \"-\" and \".\"", name);
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_http_conf_ctx_t *
ngx_http_resilience_provider_server(ngx_conf_t *cf,
    ngx_http_resilience_main_conf_t *rmcf)
{
    void                       *conf;
    ngx_uint_t                  i, n;
    ngx_http_module_t          *module;
    ngx_http_conf_ctx_t        *ctx, *http_ctx;
    ngx_http_core_srv_conf_t   *cscf, **cscfp;
    ngx_http_core_main_conf_t  *cmcf;

    ctx = ngx_pcalloc(cf->pool, sizeof(ngx_http_conf_ctx_t));
    if (ctx == NULL) {
        return NULL;
    }

    http_ctx = cf->ctx;
    ctx->main_conf = http_ctx->main_conf;

    ctx->srv_conf = ngx_pcalloc(cf->pool, sizeof(void *) * ngx_http_max_module);
    ctx->loc_conf = ngx_pcalloc(cf->pool, sizeof(void *) * ngx_http_max_module);

    if (ctx->srv_conf == NULL || ctx->loc_conf == NULL) {
        return NULL;
    }

    for (i = 0; cf->cycle->modules[i]; i++) {
        if (cf->cycle->modules[i]->type != NGX_HTTP_MODULE) {
            continue;
        }

        module = cf->cycle->modules[i]->ctx;
        n = cf->cycle->modules[i]->ctx_index;

        if (module->create_srv_conf) {
            conf = module->create_srv_conf(cf);
            if (conf == NULL) {
                return NULL;
            }

            ctx->srv_conf[n] = conf;
        }

        if (module->create_loc_conf) {
            conf = module->create_loc_conf(cf);
            if (conf == NULL) {
                return NULL;
            }

            ctx->loc_conf[n] = conf;
        }
    }

    cscf = ctx->srv_conf[ngx_http_core_module.ctx_index];
    cscf->ctx = ctx;

    cmcf = ctx->main_conf[ngx_http_core_module.ctx_index];

    cscfp = ngx_array_push(&cmcf->servers);
    if (cscfp == NULL) {
        return NULL;
    }

    *cscfp = cscf;

    return ctx;
}


static char *
ngx_http_resilience_provider_defaults(ngx_conf_t *cf, ngx_http_conf_ctx_t *ctx)
{
    char             **name;
    u_char            *p, *last;
    ngx_str_t          text;
    ngx_uint_t         n;
    ngx_file_info_t    fi;

    for (name = ngx_http_resilience_ca_files; *name; name++) {
        if (ngx_file_info((u_char *) *name, &fi) == 0) {
            break;
        }
    }

    text.data = ngx_pnalloc(cf->pool, NGX_HTTP_RESILIENCE_SETTINGS);
    if (text.data == NULL) {
        return NGX_CONF_ERROR;
    }

    last = text.data + NGX_HTTP_RESILIENCE_SETTINGS;

    p = ngx_cpymem(text.data, ngx_http_resilience_provider_settings.data,
                   ngx_http_resilience_provider_settings.len);

    if (*name) {
        p = ngx_slprintf(p, last, "proxy_ssl_trusted_certificate %s;", *name);
    }

    for (n = 0; ngx_http_resilience_provider_protocols[n].module; n++) {
        p = ngx_http_resilience_provider_protocol(cf, p, last, n, *name);
    }

    text.len = p - text.data;

    return ngx_http_resilience_provider_text(cf, ctx, NGX_HTTP_SRV_CONF, &text);
}


static u_char *
ngx_http_resilience_provider_protocol(ngx_conf_t *cf, u_char *p, u_char *last,
    ngx_uint_t n, const char *ca)
{
    const char   *prefix;
    ngx_uint_t    i;

    for (i = 0; /* void */; i++) {

        if (cf->cycle->modules[i] == NULL) {
            return p;
        }

        if (ngx_strcmp(cf->cycle->modules[i]->name,
                       ngx_http_resilience_provider_protocols[n].module)
            == 0)
        {
            break;
        }
    }

    prefix = ngx_http_resilience_provider_protocols[n].prefix;

    p = ngx_slprintf(p, last, "%s_connect_timeout 1h;%s_send_timeout 1h;"
                     "%s_read_timeout 1h;%s_next_upstream off;",
                     prefix, prefix, prefix, prefix);

    if (ngx_http_resilience_provider_protocols[n].headers) {
        p = ngx_slprintf(p, last, "%s_ignore_headers X-Accel-Redirect"
                         " X-Accel-Expires X-Accel-Limit-Rate"
                         " X-Accel-Buffering X-Accel-Charset;", prefix);
    }

    if (ngx_http_resilience_provider_protocols[n].buffering) {
        p = ngx_slprintf(p, last, "%s_buffering off;", prefix);
    }

    if (ngx_http_resilience_provider_protocols[n].ssl) {
        p = ngx_slprintf(p, last, "%s_ssl_server_name on;%s_ssl_verify on;"
                         "%s_ssl_verify_depth 5;", prefix, prefix, prefix);

        if (ca) {
            p = ngx_slprintf(p, last, "%s_ssl_trusted_certificate %s;",
                             prefix, ca);
        }
    }

    return p;
}


static char *
ngx_http_resilience_provider_body(ngx_conf_t *cf, ngx_http_conf_ctx_t *sctx,
    ngx_http_resilience_provider_t *provider)
{
    char                            *rv;
    void                            *conf;
    ngx_uint_t                       i;
    ngx_conf_t                       save;
    ngx_http_module_t               *module;
    ngx_http_conf_ctx_t             *ctx;
    ngx_http_core_loc_conf_t        *clcf, *pclcf;
    ngx_http_resilience_loc_conf_t  *rlcf;

    ctx = ngx_pcalloc(cf->pool, sizeof(ngx_http_conf_ctx_t));
    if (ctx == NULL) {
        return NGX_CONF_ERROR;
    }

    ctx->main_conf = sctx->main_conf;
    ctx->srv_conf = sctx->srv_conf;
    ctx->loc_conf = ngx_pcalloc(cf->pool, sizeof(void *) * ngx_http_max_module);

    if (ctx->loc_conf == NULL) {
        return NGX_CONF_ERROR;
    }

    for (i = 0; cf->cycle->modules[i]; i++) {
        if (cf->cycle->modules[i]->type != NGX_HTTP_MODULE) {
            continue;
        }

        module = cf->cycle->modules[i]->ctx;

        if (module->create_loc_conf) {
            conf = module->create_loc_conf(cf);
            if (conf == NULL) {
                return NGX_CONF_ERROR;
            }

            ctx->loc_conf[cf->cycle->modules[i]->ctx_index] = conf;
        }
    }

    clcf = ctx->loc_conf[ngx_http_core_module.ctx_index];
    clcf->loc_conf = ctx->loc_conf;
    clcf->internal = 1;

    /* with a name "proxy_pass" may have a path, which takes its place */

    ngx_str_set(&clcf->name, "/");

    rlcf = ctx->loc_conf[ngx_http_resilience_module.ctx_index];
    rlcf->provider = provider;
    provider->loc_conf = ctx->loc_conf;

    save = *cf;
    cf->ctx = ctx;
    cf->cmd_type = NGX_HTTP_LOC_CONF;

    rv = ngx_conf_parse(cf, NULL);

    *cf = save;

    if (rv != NGX_CONF_OK) {
        return rv;
    }

    ngx_conf_init_value(provider->usage, 1);

    rv = ngx_http_resilience_provider_check(cf, clcf, provider);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    if (provider->endpoint.len) {
        rv = ngx_http_resilience_endpoint_init(cf, ctx, provider);
        if (rv != NGX_CONF_OK) {
            return rv;
        }
    }

    clcf->noname = 1;

    pclcf = sctx->loc_conf[ngx_http_core_module.ctx_index];

    if (ngx_http_add_location(cf, &pclcf->locations, clcf) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_resilience_provider_check(ngx_conf_t *cf,
    ngx_http_core_loc_conf_t *clcf, ngx_http_resilience_provider_t *provider)
{
    ngx_queue_t                     *q;
    ngx_http_core_loc_conf_t        *nested;
    ngx_http_location_queue_t       *lq;
    ngx_http_resilience_loc_conf_t  *rlcf;

    if (clcf->limit_except || clcf->alias) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%s\" makes no sense in provider \"%V\"",
                           clcf->alias ? "alias" : "limit_except",
                           &provider->name);
        return NGX_CONF_ERROR;
    }

    rlcf = clcf->loc_conf[ngx_http_resilience_module.ctx_index];

    if (rlcf->chain_name.len || rlcf->chain_value) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"resilience_pass\" cannot be in provider \"%V\", "
                           "name its chain where it is called",
                           &provider->name);
        return NGX_CONF_ERROR;
    }

    if (clcf->locations) {
        for (q = ngx_queue_head(clcf->locations);
             q != ngx_queue_sentinel(clcf->locations);
             q = ngx_queue_next(q))
        {
            lq = (ngx_http_location_queue_t *) q;
            nested = lq->exact ? lq->exact : lq->inclusive;

            if (!nested->noname) {
                ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                                   "location \"%V\" cannot be in provider "
                                   "\"%V\"", &nested->name, &provider->name);
                return NGX_CONF_ERROR;
            }
        }
    }

    if (provider->endpoint.len && clcf->handler) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "provider \"%V\" has both \"resilience_endpoint\" "
                           "and a \"..._pass\" of its own, use one of them",
                           &provider->name);
        return NGX_CONF_ERROR;
    }

    if (clcf->handler || provider->endpoint.len) {
        return NGX_CONF_OK;
    }

    if (provider->dialect->url) {
        provider->endpoint.data = (u_char *) provider->dialect->url;
        provider->endpoint.len = ngx_strlen(provider->dialect->url);
        provider->keepalive = 32;

    } else if (provider->dialect->event) {
        ngx_conf_log_error(NGX_LOG_WARN, cf, 0,
                           "provider \"%V\" has no address, and dialect "
                           "\"%*s\" has no public one: use "
                           "\"resilience_endpoint\" with yours",
                           &provider->name, provider->dialect->name.len,
                           provider->dialect->name.data);
    }

    return NGX_CONF_OK;
}


/*
 * Reads directives that are ours as if they stood where the configuration is
 * being read, so that a message about them names that place.
 */

char *
ngx_http_resilience_provider_text(ngx_conf_t *cf, void *ctx, ngx_uint_t type,
    ngx_str_t *text)
{
    char             *rv;
    ngx_buf_t         b;
    ngx_conf_t        save;
    ngx_conf_file_t   file;
    u_char           *p;

    p = ngx_pnalloc(cf->pool, text->len + 1);
    if (p == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(&b, sizeof(ngx_buf_t));

    b.start = p;
    b.pos = p;
    b.last = ngx_cpymem(p, text->data, text->len);
    *b.last++ = '}';
    b.end = b.last;
    b.temporary = 1;

    file = *cf->conf_file;
    file.buffer = &b;
    file.dump = NULL;

    save = *cf;

    cf->conf_file = &file;
    cf->ctx = ctx;
    cf->cmd_type = type;
    cf->handler = NULL;
    cf->args = ngx_array_create(cf->pool, 10, sizeof(ngx_str_t));

    if (cf->args == NULL) {
        *cf = save;
        return NGX_CONF_ERROR;
    }

    rv = ngx_conf_parse(cf, NULL);

    *cf = save;

    return rv;
}


char *
ngx_http_resilience_dialect(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    u_char                          *p, *last;
    u_char                           list[256];
    unsigned                         i;
    ngx_str_t                       *value;
    const llm_dialect_t             *dialect;
    ngx_http_resilience_provider_t  *provider;

    provider = ngx_http_resilience_provider_of(cf, cmd, conf);
    if (provider == NULL) {
        return NGX_CONF_ERROR;
    }

    if (provider->dialect != &llm_dialect_none) {
        return "is duplicate";
    }

    value = cf->args->elts;

    dialect = llm_dialect_find((char *) value[1].data, value[1].len);

    if (dialect) {
        provider->dialect = dialect;
        return NGX_CONF_OK;
    }

    p = list;
    last = list + sizeof(list);

    for (i = 0; (dialect = llm_dialect_get(i)) != NULL; i++) {
        p = ngx_slprintf(p, last, " %*s", dialect->name.len,
                         dialect->name.data);
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "unknown dialect \"%V\", there are:%*s", &value[1],
                       (size_t) (p - list), list);

    return NGX_CONF_ERROR;
}


char *
ngx_http_resilience_model(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    u_char                          *p;
    llm_str_t                        to;
    ngx_str_t                       *value;
    ngx_uint_t                       i;
    ngx_http_resilience_model_t     *model;
    ngx_http_resilience_provider_t  *provider;

    provider = ngx_http_resilience_provider_of(cf, cmd, conf);
    if (provider == NULL) {
        return NGX_CONF_ERROR;
    }

    value = cf->args->elts;

    if (value[1].len == 0 || value[2].len == 0
        || value[1].len > NGX_HTTP_RESILIENCE_MODEL
        || value[2].len > NGX_HTTP_RESILIENCE_MODEL)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "a model's name must have 1 to %d bytes",
                           NGX_HTTP_RESILIENCE_MODEL);
        return NGX_CONF_ERROR;
    }

    if (ngx_strcmp(value[1].data, "*") == 0) {
        value[1].len = 0;
    }

    if (provider->models == NULL) {
        provider->models = ngx_array_create(cf->pool, 2,
                                          sizeof(ngx_http_resilience_model_t));
        if (provider->models == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    model = provider->models->elts;

    for (i = 0; i < provider->models->nelts; i++) {
        if (model[i].from.len == value[1].len
            && ngx_memcmp(model[i].from.data, value[1].data, value[1].len)
               == 0)
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "duplicate model \"%s\" in provider \"%V\"",
                               value[1].data, &provider->name);
            return NGX_CONF_ERROR;
        }
    }

    model = ngx_array_push(provider->models);
    if (model == NULL) {
        return NGX_CONF_ERROR;
    }

    model->from = value[1];
    model->to = value[2];

    to.data = value[2].data;
    to.len = value[2].len;

    model->json.len = llm_json_escape(NULL, to) + 2;
    model->json.data = ngx_pnalloc(cf->pool, model->json.len);

    if (model->json.data == NULL) {
        return NGX_CONF_ERROR;
    }

    p = model->json.data;
    *p++ = '"';
    p += llm_json_escape(p, to);
    *p = '"';

    return NGX_CONF_OK;
}


char *
ngx_http_resilience_hold(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ssize_t                          size;
    ngx_str_t                       *value;
    ngx_http_resilience_provider_t  *provider;

    provider = ngx_http_resilience_provider_of(cf, cmd, conf);
    if (provider == NULL) {
        return NGX_CONF_ERROR;
    }

    value = cf->args->elts;

    size = ngx_parse_size(&value[1]);

    if (size == NGX_ERROR || size > 64 * 1024 * 1024) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid size \"%V\" in \"%V\" directive, it must "
                           "be from 0 to 64m", &value[1], &value[0]);
        return NGX_CONF_ERROR;
    }

    provider->hold = size;

    return NGX_CONF_OK;
}


char *
ngx_http_resilience_usage(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_command_t                    flag;
    ngx_http_resilience_provider_t  *provider;

    provider = ngx_http_resilience_provider_of(cf, cmd, conf);
    if (provider == NULL) {
        return NGX_CONF_ERROR;
    }

    flag = *cmd;
    flag.offset = offsetof(ngx_http_resilience_provider_t, usage);

    return ngx_conf_set_flag_slot(cf, &flag, provider);
}
