
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "ngx_http_resilience.h"

#include <openssl/evp.h>


/*
 * A provider's own "proxy_cache", or that of FastCGI, uwsgi and SCGI.
 *
 * An upstream is told more than its location says before it starts: "aio" of
 * the subrequest keeps it from starting until then.
 *
 * The tenant and what makes one request another one, its method, body and the
 * client's credentials, are a part of any cache key, so that no configuration
 * can give one tenant the answers of another.
 */


#define NGX_HTTP_RESILIENCE_READ    (64 * 1024)
#define NGX_HTTP_RESILIENCE_DIGEST  32           /* bytes of SHA-256 */


#if (NGX_HTTP_CACHE)

static ngx_http_upstream_conf_t *ngx_http_resilience_cache_conf(
    ngx_conf_t *cf, ngx_http_resilience_provider_t *provider);
static ngx_int_t ngx_http_resilience_cache_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_resilience_cache_content(ngx_http_request_t *r);
static ngx_int_t ngx_http_resilience_cache_tell(
    ngx_http_resilience_attempt_t *a);
static void ngx_http_resilience_cache_only(ngx_http_request_t *r,
    ngx_http_upstream_conf_t *conf);
static ngx_int_t ngx_http_resilience_cache_key(ngx_http_request_t *r);
static ngx_int_t ngx_http_resilience_cache_digest(
    ngx_http_resilience_attempt_t *a, u_char *digest);
static void ngx_http_resilience_cache_digest_headers(
    ngx_http_resilience_attempt_t *a, EVP_MD_CTX *md);
static ngx_int_t ngx_http_resilience_cache_digest_file(ngx_http_request_t *r,
    EVP_MD_CTX *md, ngx_buf_t *b);
static ngx_int_t ngx_http_resilience_cache_request(ngx_http_request_t *r);
static ngx_int_t ngx_http_resilience_cache_peer_init(ngx_http_request_t *r,
    ngx_http_upstream_srv_conf_t *us);
static ngx_int_t ngx_http_resilience_cache_peer_get(ngx_peer_connection_t *pc,
    void *data);
static void ngx_http_resilience_cache_peer_free(ngx_peer_connection_t *pc,
    void *data, ngx_uint_t state);


/* those that have a cache; their settings begin with the upstream's */

static const char  *ngx_http_resilience_cache_modules[] = {
    "ngx_http_proxy_module",
    "ngx_http_fastcgi_module",
    "ngx_http_uwsgi_module",
    "ngx_http_scgi_module",
    NULL
};


/* where a request goes that must not leave: it finds no peer */

static ngx_http_upstream_srv_conf_t  ngx_http_resilience_cache_nowhere = {
    .peer = { .init = ngx_http_resilience_cache_peer_init },
    .host = ngx_string("nowhere")
};


ngx_int_t
ngx_http_resilience_cache_init(ngx_conf_t *cf,
    ngx_http_resilience_main_conf_t *rmcf)
{
    ngx_uint_t                        i, caches;
    ngx_http_handler_pt              *h;
    ngx_http_upstream_conf_t         *conf;
    ngx_http_core_main_conf_t        *cmcf;
    ngx_http_resilience_provider_t  **providers;

    providers = rmcf->providers.elts;
    caches = 0;

    for (i = 0; i < rmcf->providers.nelts; i++) {

        conf = ngx_http_resilience_cache_conf(cf, providers[i]);

        if (conf == NULL) {
            continue;
        }

        caches = 1;
        providers[i]->caches = 1;

        if (providers[i]->dialect->event
            && !(conf->cache_methods & NGX_HTTP_POST))
        {
            ngx_log_error(NGX_LOG_WARN, cf->log, 0,
                          "provider \"%V\" has a cache, but its requests are "
                          "POST and thus not cached, add "
                          "\"proxy_cache_methods POST\" in %s:%ui",
                          &providers[i]->name,
                          providers[i]->place.file, providers[i]->place.line);
        }
    }

    if (!caches) {
        return NGX_OK;
    }

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_PRECONTENT_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_resilience_cache_handler;

    return NGX_OK;
}


/* the settings of an upstream that caches, or NULL */

static ngx_http_upstream_conf_t *
ngx_http_resilience_cache_conf(ngx_conf_t *cf,
    ngx_http_resilience_provider_t *provider)
{
    ngx_uint_t                  i, n;
    ngx_module_t              **modules;
    ngx_http_upstream_conf_t   *conf;

    modules = cf->cycle->modules;

    for (i = 0; modules[i]; i++) {

        for (n = 0; ngx_http_resilience_cache_modules[n]; n++) {

            if (ngx_strcmp(modules[i]->name,
                           ngx_http_resilience_cache_modules[n])
                != 0)
            {
                continue;
            }

            conf = provider->loc_conf[modules[i]->ctx_index];

            if (conf && conf->cache == 1) {
                return conf;
            }
        }
    }

    return NULL;
}


static ngx_int_t
ngx_http_resilience_cache_handler(ngx_http_request_t *r)
{
    ngx_http_resilience_attempt_t  *a;

    a = ngx_http_resilience_get_attempt(r);

    if (a && a->step->provider->caches && r->content_handler) {
        a->content_handler = r->content_handler;
        r->content_handler = ngx_http_resilience_cache_content;
    }

    return NGX_DECLINED;
}


static ngx_int_t
ngx_http_resilience_cache_content(ngx_http_request_t *r)
{
    ngx_int_t                       rc;
    ngx_http_resilience_attempt_t  *a;

    a = ngx_http_resilience_get_attempt(r);

    r->aio = 1;

    rc = a->content_handler(r);

    r->aio = 0;

    if (rc != NGX_DONE || r->upstream == NULL) {
        return rc;
    }

    if (ngx_http_resilience_cache_tell(a) != NGX_OK) {
        r->main->count--;
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (a->cached && !r->upstream->conf->cache) {
        r->main->count--;
        return NGX_HTTP_BAD_GATEWAY;
    }

    ngx_http_upstream_init(r);

    return NGX_DONE;
}


static ngx_int_t
ngx_http_resilience_cache_tell(ngx_http_resilience_attempt_t *a)
{
    ngx_http_request_t        *r;
    ngx_http_upstream_t       *u;
    ngx_http_upstream_conf_t  *conf;

    r = a->request;
    u = r->upstream;

    if (!u->conf->cache) {
        return NGX_OK;
    }

    conf = ngx_palloc(r->pool, sizeof(ngx_http_upstream_conf_t));
    if (conf == NULL) {
        return NGX_ERROR;
    }

    *conf = *u->conf;

    /* it would ask the provider past its breaker, and under another key */

    conf->cache_background_update = 0;

    a->create_key = u->create_key;
    u->create_key = ngx_http_resilience_cache_key;

    a->create_request = u->create_request;
    u->create_request = ngx_http_resilience_cache_request;

    /* what is not buffered is not stored; see cache_header() */

    u->buffering = 1;

    if (a->call->chain->stale) {

        /* a failure must be seen as one, and the other providers asked */

        conf->cache_use_stale &= NGX_HTTP_UPSTREAM_FT_UPDATING;
        conf->cache_use_stale |= NGX_CONF_BITMASK_SET;
    }

    if (a->cached) {
        ngx_http_resilience_cache_only(r, conf);
    }

    u->conf = conf;

    return NGX_OK;
}


/* an entry is answered, how old it may be, and nothing is sent */

static void
ngx_http_resilience_cache_only(ngx_http_request_t *r,
    ngx_http_upstream_conf_t *conf)
{
    conf->upstream = &ngx_http_resilience_cache_nowhere;
    conf->local = NULL;
    conf->store = 0;

    conf->cache_lock = 0;
    conf->cache_valid = NULL;
    conf->cache_use_stale = NGX_CONF_BITMASK_SET|NGX_HTTP_UPSTREAM_FT_ERROR;
}


/* ours goes first and says how long it is, so that no two can be alike */

static ngx_int_t
ngx_http_resilience_cache_key(ngx_http_request_t *r)
{
    u_char                         *p;
    ngx_str_t                      *key, *tenant;
    ngx_http_resilience_attempt_t  *a;
    u_char                          digest[NGX_HTTP_RESILIENCE_DIGEST];

    a = ngx_http_resilience_get_attempt(r);

    if (a == NULL
        || ngx_http_resilience_cache_digest(a, digest) != NGX_OK)
    {
        return NGX_ERROR;
    }

    tenant = &a->call->tenant;

    key = ngx_array_push(&r->cache->keys);
    if (key == NULL) {
        return NGX_ERROR;
    }

    key->data = ngx_pnalloc(r->pool, NGX_INT_T_LEN + tenant->len
                                     + NGX_HTTP_RESILIENCE_DIGEST * 2
                                     + sizeof(":  ") - 1);
    if (key->data == NULL) {
        return NGX_ERROR;
    }

    p = ngx_sprintf(key->data, "%uz:%V ", tenant->len, tenant);
    p = ngx_hex_dump(p, digest, NGX_HTTP_RESILIENCE_DIGEST);
    *p++ = ' ';

    key->len = p - key->data;

    return a->create_key(r);
}


static ngx_int_t
ngx_http_resilience_cache_digest(ngx_http_resilience_attempt_t *a,
    u_char *digest)
{
    ngx_int_t            rc;
    EVP_MD_CTX          *md;
    ngx_chain_t         *cl;
    ngx_http_request_t  *r;

    r = a->request;

    md = EVP_MD_CTX_new();
    if (md == NULL) {
        return NGX_ERROR;
    }

    rc = EVP_DigestInit_ex(md, EVP_sha256(), NULL) ? NGX_OK : NGX_ERROR;

    /* HEAD is served from what GET has stored */

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {
        (void) EVP_DigestUpdate(md, r->method_name.data, r->method_name.len);
    }

    (void) EVP_DigestUpdate(md, "", 1);

    ngx_http_resilience_cache_digest_headers(a, md);

    cl = r->request_body ? r->request_body->bufs : NULL;

    for ( /* void */ ; cl && rc == NGX_OK; cl = cl->next) {

        if (ngx_buf_in_memory(cl->buf)) {
            (void) EVP_DigestUpdate(md, cl->buf->pos,
                                    cl->buf->last - cl->buf->pos);

        } else if (cl->buf->in_file) {
            rc = ngx_http_resilience_cache_digest_file(r, md, cl->buf);
        }
    }

    if (!EVP_DigestFinal_ex(md, digest, NULL)) {
        rc = NGX_ERROR;
    }

    EVP_MD_CTX_free(md);

    return rc;
}


/* what the client proves itself with; the provider's own key is for all */

static void
ngx_http_resilience_cache_digest_headers(ngx_http_resilience_attempt_t *a,
    EVP_MD_CTX *md)
{
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    if (a->step->provider->key) {
        return;
    }

    for (part = &a->request->headers_in.headers.part; part; part = part->next)
    {
        h = part->elts;

        for (i = 0; i < part->nelts; i++) {

            if (ngx_http_resilience_request_credential(&h[i])) {
                (void) EVP_DigestUpdate(md, h[i].lowcase_key, h[i].key.len);
                (void) EVP_DigestUpdate(md, ":", 1);
                (void) EVP_DigestUpdate(md, h[i].value.data, h[i].value.len);
                (void) EVP_DigestUpdate(md, "", 1);
            }
        }
    }

    (void) EVP_DigestUpdate(md, "", 1);
}


static ngx_int_t
ngx_http_resilience_cache_digest_file(ngx_http_request_t *r, EVP_MD_CTX *md,
    ngx_buf_t *b)
{
    off_t    pos;
    u_char  *buf;
    ssize_t  n;

    buf = ngx_alloc(NGX_HTTP_RESILIENCE_READ, r->connection->log);
    if (buf == NULL) {
        return NGX_ERROR;
    }

    for (pos = b->file_pos; pos < b->file_last; pos += n) {

        n = ngx_read_file(b->file, buf,
                          (size_t) ngx_min(b->file_last - pos,
                                           NGX_HTTP_RESILIENCE_READ), pos);

        if (n == NGX_ERROR || n == 0) {
            ngx_free(buf);
            return NGX_ERROR;
        }

        (void) EVP_DigestUpdate(md, buf, n);
    }

    ngx_free(buf);

    return NGX_OK;
}


/* the cache has nothing, or nothing that is fresh */

static ngx_int_t
ngx_http_resilience_cache_request(ngx_http_request_t *r)
{
    ngx_http_upstream_t            *u;
    ngx_http_resilience_attempt_t  *a;

    u = r->upstream;
    a = ngx_http_resilience_get_attempt(r);

    if (a->cached) {

        /* nor is it stored that there was nothing */

        u->cacheable = 0;
        u->resolved = NULL;

        return NGX_OK;
    }

    if (r->cache && a->call->chain->stale) {
        r->cache->stale_error = 0;
    }

    return a->create_request(r);
}


static ngx_int_t
ngx_http_resilience_cache_peer_init(ngx_http_request_t *r,
    ngx_http_upstream_srv_conf_t *us)
{
    ngx_peer_connection_t  *pc;

    pc = &r->upstream->peer;

    pc->get = ngx_http_resilience_cache_peer_get;
    pc->free = ngx_http_resilience_cache_peer_free;
    pc->data = NULL;
    pc->tries = 0;

    return NGX_OK;
}


static ngx_int_t
ngx_http_resilience_cache_peer_get(ngx_peer_connection_t *pc, void *data)
{
    /* for the upstream it is a connection that failed */

    return NGX_DECLINED;
}


static void
ngx_http_resilience_cache_peer_free(ngx_peer_connection_t *pc, void *data,
    ngx_uint_t state)
{
    /* void: there is none */
}


/*
 * The header has come: what will not be stored, an event stream among it, is
 * not buffered either, unless its location says so.
 */

void
ngx_http_resilience_cache_header(ngx_http_resilience_attempt_t *a)
{
    ngx_http_request_t   *r;
    ngx_http_upstream_t  *u;

    r = a->request;
    u = r->upstream;

    if (a->create_key == NULL || u == NULL || r->cached) {
        return;
    }

    if (r->cache == NULL
        || (ngx_http_resilience_filter_events(r)
            && !u->conf->buffering)
        || (r->cache->valid_sec == 0
            && ngx_http_file_cache_valid(u->conf->cache_valid,
                                         u->headers_in.status_n)
               == 0))
    {
        u->cacheable = 0;
    }

    if (!u->cacheable) {
        u->buffering = u->conf->buffering;
    }
}


/*
 * The attempt is over.  What nginx has stored and what turned out to be no
 * good answer must not be given to anyone else.
 */

void
ngx_http_resilience_cache_end(ngx_http_resilience_attempt_t *a)
{
    ngx_http_cache_t    *c;
    ngx_http_request_t  *r;

    r = a->request;
    c = r->cache;

    if (a->create_key == NULL || c == NULL || c->file.name.len == 0) {
        return;
    }

    if (a->outcome != RES_INVALID_RESPONSE
        && a->outcome != RES_STREAM_DROPPED)
    {
        return;
    }

    if (!r->cached && !(a->header && a->whole && r->upstream->cacheable)) {
        r->upstream->cacheable = 0;
        return;
    }

    if (ngx_delete_file(c->file.name.data) == NGX_FILE_ERROR
        && ngx_errno != NGX_ENOENT)
    {
        ngx_log_error(NGX_LOG_CRIT, r->connection->log, ngx_errno,
                      ngx_delete_file_n " \"%s\" failed", c->file.name.data);
    }
}


/* the attempt is given up while it waits for "proxy_cache_lock" */

void
ngx_http_resilience_cache_leave(ngx_http_request_t *r)
{
    ngx_http_cache_t  *c;

    c = r->cache;

    if (c && c->waiting) {
        c->waiting = 0;
        r->main->blocked--;

        if (c->wait_event.timer_set) {
            ngx_del_timer(&c->wait_event);
        }
    }
}


ngx_uint_t
ngx_http_resilience_cache_served(ngx_http_request_t *r)
{
    return r && r->cached;
}


/* seconds since the answer was stored */

time_t
ngx_http_resilience_cache_age(ngx_http_request_t *r)
{
    return ngx_max(ngx_time() - r->cache->date, 0);
}


ngx_uint_t
ngx_http_resilience_cache_expired(ngx_http_request_t *r)
{
    return r->upstream->cache_status == NGX_HTTP_CACHE_STALE;
}


#else


ngx_int_t
ngx_http_resilience_cache_init(ngx_conf_t *cf,
    ngx_http_resilience_main_conf_t *rmcf)
{
    return NGX_OK;
}


void
ngx_http_resilience_cache_header(ngx_http_resilience_attempt_t *a)
{
    /* void */
}


void
ngx_http_resilience_cache_end(ngx_http_resilience_attempt_t *a)
{
    /* void */
}


void
ngx_http_resilience_cache_leave(ngx_http_request_t *r)
{
    /* void */
}


ngx_uint_t
ngx_http_resilience_cache_served(ngx_http_request_t *r)
{
    return 0;
}


time_t
ngx_http_resilience_cache_age(ngx_http_request_t *r)
{
    return 0;
}


ngx_uint_t
ngx_http_resilience_cache_expired(ngx_http_request_t *r)
{
    return 0;
}

#endif
