
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "ngx_http_resilience.h"
#include <openssl/evp.h>
#include <openssl/hmac.h>


/*
 * A provider's credentials.  A key file is looked at once a second at most,
 * and read again when it has changed.  What is in it is never logged.
 */


#define NGX_HTTP_RESILIENCE_KEYS      64      /* keys of one provider */
#define NGX_HTTP_RESILIENCE_KEY_FILE  65536   /* bytes */
#define NGX_HTTP_RESILIENCE_KEY_TEXT  (LLM_KEY_MAX + 32)  /* and prefix */


static ngx_int_t ngx_http_resilience_key_check(ngx_str_t *text);
static void ngx_http_resilience_key_cleanup(void *data);
static void ngx_http_resilience_key_permissions(ngx_conf_t *cf, ngx_log_t *log,
    ngx_str_t *path, ngx_file_info_t *fi);
static ngx_int_t ngx_http_resilience_key_read(ngx_http_resilience_key_t *key,
    ngx_log_t *log, ngx_uint_t level);
static ssize_t ngx_http_resilience_key_load(ngx_http_resilience_key_t *key,
    u_char *buf, ngx_log_t *log, ngx_uint_t level);
static ngx_int_t ngx_http_resilience_key_parse(ngx_http_resilience_key_t *key,
    u_char *buf, size_t len, ngx_log_t *log, ngx_uint_t level);
static void ngx_http_resilience_key_lines(ngx_http_resilience_key_t *key,
    llm_str_t text, ngx_log_t *log);
static ngx_int_t ngx_http_resilience_key_put(ngx_http_resilience_key_t *key,
    u_char **p, const u_char *data, size_t len);
static void ngx_http_resilience_key_drop(ngx_http_resilience_key_t *key);
static void ngx_http_resilience_key_hash(
    ngx_http_resilience_provider_t *provider,
    ngx_http_resilience_zone_t *zone);
static ngx_http_resilience_key_t *ngx_http_resilience_key_add(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);


char *
ngx_http_resilience_key(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_str_t                  *value;
    ngx_http_resilience_key_t  *key;

    key = ngx_http_resilience_key_add(cf, cmd, conf);
    if (key == NULL) {
        return NGX_CONF_ERROR;
    }

    value = cf->args->elts;

    key->secret = value[1];

    return NGX_CONF_OK;
}


char *
ngx_http_resilience_key_file(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_str_t                  *value;
    ngx_file_info_t             fi;
    ngx_http_resilience_key_t  *key;

    key = ngx_http_resilience_key_add(cf, cmd, conf);
    if (key == NULL) {
        return NGX_CONF_ERROR;
    }

    value = cf->args->elts;

    if (value[1].len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "no path in \"%V\" directive", &value[0]);
        return NGX_CONF_ERROR;
    }

    key->path = value[1];

    if (ngx_conf_full_name(cf->cycle, &key->path, 1) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    if (ngx_file_info(key->path.data, &fi) == NGX_FILE_ERROR) {
        ngx_conf_log_error(NGX_LOG_WARN, cf, ngx_errno,
                           "key file \"%V\" cannot be read, its provider will "
                           "be skipped until it can", &key->path);
        return NGX_CONF_OK;
    }

    ngx_http_resilience_key_permissions(cf, NULL, &key->path, &fi);

    return NGX_CONF_OK;
}


static ngx_http_resilience_key_t *
ngx_http_resilience_key_add(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_resilience_provider_t  *provider;

    provider = ngx_http_resilience_provider_of(cf, cmd, conf);
    if (provider == NULL) {
        return NULL;
    }

    if (provider->key) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "provider \"%V\" has a key already, give it by one "
                           "\"llm_key\" or \"llm_key_file\"", &provider->name);
        return NULL;
    }

    provider->key = ngx_pcalloc(cf->pool, sizeof(ngx_http_resilience_key_t));

    return provider->key;
}


static void
ngx_http_resilience_key_permissions(ngx_conf_t *cf, ngx_log_t *log,
    ngx_str_t *path, ngx_file_info_t *fi)
{
    u_char  mode[sizeof("0777")];

    if ((fi->st_mode & 0137) == 0) {
        return;
    }

    /* there is no format for octal numbers */

    *ngx_sprintf(mode, "0%ui%ui%ui", (ngx_uint_t) fi->st_mode >> 6 & 7,
                 (ngx_uint_t) fi->st_mode >> 3 & 7,
                 (ngx_uint_t) fi->st_mode & 7)
        = '\0';

    if (cf) {
        ngx_conf_log_error(NGX_LOG_WARN, cf, 0,
                           "key file \"%V\" has permissions %s, use 0640 or "
                           "less", path, mode);
        return;
    }

    ngx_log_error(NGX_LOG_WARN, log, 0,
                  "key file \"%V\" has permissions %s, use 0640 or less", path,
                  mode);
}


ngx_int_t
ngx_http_resilience_key_init(ngx_conf_t *cf,
    ngx_http_resilience_provider_t *provider)
{
    u_char                     *p;
    ngx_pool_cleanup_t         *cln;
    ngx_http_resilience_key_t  *key;

    key = provider->key;

    if (key == NULL) {
        return NGX_OK;
    }

    key->prefix.data = (u_char *) provider->dialect->key_prefix;
    key->prefix.len = ngx_strlen(key->prefix.data);

    key->secrets = ngx_pcalloc(cf->pool,
                               (key->path.len ? NGX_HTTP_RESILIENCE_KEYS : 1)
                               * sizeof(ngx_http_resilience_secret_t));
    if (key->secrets == NULL) {
        return NGX_ERROR;
    }

    if (key->path.len) {

        /* its keys have memory of their own, as they come and go */

        cln = ngx_pool_cleanup_add(cf->pool, 0);
        if (cln == NULL) {
            return NGX_ERROR;
        }

        cln->handler = ngx_http_resilience_key_cleanup;
        cln->data = key;

        /*
         * What the master can read the workers may not be allowed to; the
         * first reading serves until the file changes.
         */

        (void) ngx_http_resilience_key_read(key, cf->log, NGX_LOG_WARN);

        return NGX_OK;
    }

    if (key->secret.len == 0) {
        return NGX_OK;
    }

    if (ngx_http_resilience_key_check(&key->secret) != NGX_OK) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"llm_key\" of provider \"%V\" in %s:%ui is too "
                      "long or has a character that no header may have",
                      &provider->name, provider->place.file,
                      provider->place.line);
        return NGX_ERROR;
    }

    p = ngx_pnalloc(cf->pool, key->prefix.len + key->secret.len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    return ngx_http_resilience_key_put(key, &p, key->secret.data,
                                       key->secret.len);
}


/* may the text be (a part of) a header's value? */

static ngx_int_t
ngx_http_resilience_key_check(ngx_str_t *text)
{
    size_t  i;

    if (text->len > LLM_KEY_MAX) {
        return NGX_DECLINED;
    }

    for (i = 0; i < text->len; i++) {
        if (text->data[i] < ' ' || text->data[i] == 0x7f) {
            return NGX_DECLINED;
        }
    }

    return NGX_OK;
}


static void
ngx_http_resilience_key_cleanup(void *data)
{
    ngx_http_resilience_key_drop(data);
}


ngx_http_resilience_key_t *
ngx_http_resilience_key_get(ngx_http_resilience_provider_t *provider,
    ngx_http_resilience_zone_t *zone, ngx_log_t *log)
{
    ngx_file_info_t             fi;
    ngx_http_resilience_key_t  *key;

    key = provider->key;

    if (key->path.len == 0 || key->checked == ngx_time()) {
        goto done;
    }

    key->checked = ngx_time();

    if (ngx_file_info(key->path.data, &fi) == NGX_FILE_ERROR) {

        if (ngx_errno != NGX_ENOENT && ngx_errno != NGX_ENOTDIR) {
            /* this process is not allowed to look, the master was */
            goto done;
        }

        if (key->uniq) {
            ngx_log_error(NGX_LOG_ERR, log, ngx_errno,
                          "key file \"%V\" is gone, its provider is skipped",
                          &key->path);
        }

        key->uniq = 0;
        ngx_http_resilience_key_drop(key);

        goto done;
    }

    if (key->fresh || key->failed || ngx_file_mtime(&fi) != key->mtime
        || ngx_file_size(&fi) != key->size || ngx_file_uniq(&fi) != key->uniq)
    {
        if (ngx_http_resilience_key_read(key, log, NGX_LOG_ERR) == NGX_OK) {
            ngx_log_error(NGX_LOG_NOTICE, log, 0,
                          "key file \"%V\" was read again", &key->path);
            ngx_http_resilience_key_permissions(NULL, log, &key->path, &fi);
        }
    }

done:

    if (key->hashed != zone->shared) {
        ngx_http_resilience_key_hash(provider, zone);
    }

    return key;
}


/* NGX_DECLINED: it says what it said before */

static ngx_int_t
ngx_http_resilience_key_read(ngx_http_resilience_key_t *key, ngx_log_t *log,
    ngx_uint_t level)
{
    u_char     *buf;
    ssize_t     n;
    ngx_int_t   rc;

    buf = ngx_alloc(NGX_HTTP_RESILIENCE_KEY_FILE + 1, log);
    if (buf == NULL) {
        return NGX_ERROR;
    }

    rc = NGX_ERROR;

    n = ngx_http_resilience_key_load(key, buf, log, level);

    if (n >= 0) {
        key->failed = 0;
        rc = ngx_http_resilience_key_parse(key, buf, n, log, level);

        ngx_explicit_memzero(buf, n);

    } else if (n == NGX_DECLINED) {
        key->fresh = 0;
        rc = NGX_DECLINED;

    } else {
        key->failed = 1;
        key->fresh = 0;
        ngx_http_resilience_key_drop(key);
    }

    ngx_free(buf);

    return rc;
}


/*
 * The file's bytes; NGX_ERROR is logged when it is news; NGX_DECLINED: this
 * process cannot read what is known of it already.
 */

static ssize_t
ngx_http_resilience_key_load(ngx_http_resilience_key_t *key, u_char *buf,
    ngx_log_t *log, ngx_uint_t level)
{
    size_t            size;
    ssize_t           n;
    ngx_fd_t          fd;
    ngx_err_t         err;
    ngx_uint_t        same;
    const char       *failed;
    ngx_file_info_t   fi;

    /* one that is a pipe must not be waited for */

    fd = ngx_open_file(key->path.data, NGX_FILE_RDONLY|NGX_FILE_NONBLOCK,
                       NGX_FILE_OPEN, 0);

    if (fd == NGX_INVALID_FILE) {

        err = ngx_errno;
        failed = "cannot be opened";

        if (ngx_file_info(key->path.data, &fi) == NGX_FILE_ERROR) {
            ngx_memzero(&fi, sizeof(ngx_file_info_t));
        }

        goto failed;
    }

    size = 0;
    err = 0;
    failed = NULL;

    if (ngx_fd_info(fd, &fi) == NGX_FILE_ERROR) {
        err = ngx_errno;
        failed = "cannot be read";
        ngx_memzero(&fi, sizeof(ngx_file_info_t));

    } else if (!ngx_is_file(&fi)) {
        failed = "is not a regular file";

    } else {

        do {
            n = ngx_read_fd(fd, buf + size,
                            NGX_HTTP_RESILIENCE_KEY_FILE + 1 - size);

            if (n == -1) {
                err = ngx_errno;
                failed = "cannot be read";
                break;
            }

            size += n;

        } while (n && size <= NGX_HTTP_RESILIENCE_KEY_FILE);

        if (size > NGX_HTTP_RESILIENCE_KEY_FILE) {
            failed = "is longer than 65536 bytes";
        }
    }

    if (ngx_close_file(fd) == NGX_FILE_ERROR) {
        ngx_log_error(NGX_LOG_ALERT, log, ngx_errno,
                      ngx_close_file_n " \"%V\" failed", &key->path);
    }

    if (failed == NULL) {
        key->mtime = ngx_file_mtime(&fi);
        key->size = ngx_file_size(&fi);
        key->uniq = ngx_file_uniq(&fi);

        /* a second writing within the second of the first would not be seen */

        key->fresh = (key->mtime + 1 >= ngx_time());

        return size;
    }

failed:

    same = (key->mtime == ngx_file_mtime(&fi)
            && key->size == ngx_file_size(&fi)
            && key->uniq == ngx_file_uniq(&fi));

    if (same && key->parsed) {
        /* what the master could read is as it was */
        return NGX_DECLINED;
    }

    /* it is tried again each second, and said once */

    if (!same || !key->failed) {
        ngx_log_error(level, log, err,
                      "key file \"%V\" %s, its provider is skipped",
                      &key->path, failed);
    }

    key->mtime = ngx_file_mtime(&fi);
    key->size = ngx_file_size(&fi);
    key->uniq = ngx_file_uniq(&fi);

    return NGX_ERROR;
}


static ngx_int_t
ngx_http_resilience_key_parse(ngx_http_resilience_key_t *key, u_char *buf,
    size_t len, ngx_log_t *log, ngx_uint_t level)
{
    u_char     *p;
    uint32_t    crc;
    llm_str_t   text;

    crc = ngx_crc32_long(buf, len);

    if (key->parsed && key->crc == crc) {
        return NGX_DECLINED;
    }

    ngx_http_resilience_key_drop(key);

    key->parsed = 1;
    key->crc = crc;

    key->len = len + NGX_HTTP_RESILIENCE_KEYS * key->prefix.len;

    p = ngx_alloc(ngx_max(key->len, 1), log);
    if (p == NULL) {
        return NGX_ERROR;
    }

    key->data = p;

    text.data = buf;
    text.len = len;

    ngx_http_resilience_key_lines(key, text, log);

    if (key->n == 0) {
        ngx_log_error(level, log, 0,
                      "key file \"%V\" holds no key, its provider is skipped",
                      &key->path);
        return NGX_ERROR;
    }

    return NGX_OK;
}


static void
ngx_http_resilience_key_lines(ngx_http_resilience_key_t *key, llm_str_t text,
    ngx_log_t *log)
{
    u_char      *p;
    llm_key_e    rc;
    llm_str_t    value;
    const char  *why;
    llm_keys_t   keys;

    p = key->data;

    llm_keys_init(&keys, text);

    for ( ;; ) {

        rc = llm_keys_next(&keys, &value);

        switch (rc) {

        case LLM_KEY_END:
            return;

        case LLM_KEY_LONG:
            why = "is longer than 4095 bytes";
            break;

        case LLM_KEY_BAD:
            why = "has white space in it or a character that no key has";
            break;

        default: /* LLM_KEY_GOOD */

            if (key->n == NGX_HTTP_RESILIENCE_KEYS) {
                ngx_log_error(NGX_LOG_WARN, log, 0,
                              "key file \"%V\" holds more than %d keys, "
                              "those from line %ui on are not used",
                              &key->path, NGX_HTTP_RESILIENCE_KEYS,
                              (ngx_uint_t) keys.line);
                return;
            }

            why = "is there before";

            if (ngx_http_resilience_key_put(key, &p, value.data, value.len)
                == NGX_OK)
            {
                continue;
            }
        }

        ngx_log_error(NGX_LOG_WARN, log, 0,
                      "line %ui of key file \"%V\" %s, it is skipped",
                      (ngx_uint_t) keys.line, &key->path, why);
    }
}


/* NGX_DECLINED: it is one of them already */

static ngx_int_t
ngx_http_resilience_key_put(ngx_http_resilience_key_t *key, u_char **p,
    const u_char *data, size_t len)
{
    ngx_str_t   value;
    ngx_uint_t  i;

    value.data = *p;
    value.len = key->prefix.len + len;

    ngx_memcpy(ngx_cpymem(*p, key->prefix.data, key->prefix.len), data, len);

    for (i = 0; i < key->n; i++) {
        if (key->secrets[i].value.len == value.len
            && ngx_memcmp(key->secrets[i].value.data, value.data, value.len)
               == 0)
        {
            return NGX_DECLINED;
        }
    }

    key->secrets[key->n++].value = value;

    *p += value.len;

    return NGX_OK;
}


static void
ngx_http_resilience_key_drop(ngx_http_resilience_key_t *key)
{
    key->n = 0;
    key->parsed = 0;
    key->hashed = NULL;

    if (key->data) {
        ngx_explicit_memzero(key->data, key->len);
        ngx_free(key->data);
        key->data = NULL;
    }
}


/* what a key is known by where all can read it */

static void
ngx_http_resilience_key_hash(ngx_http_resilience_provider_t *provider,
    ngx_http_resilience_zone_t *zone)
{
    size_t                         name;
    ngx_uint_t                     i;
    unsigned int                   len;
    ngx_http_resilience_key_t     *key;
    ngx_http_resilience_secret_t  *secret;
    u_char                         md[EVP_MAX_MD_SIZE];
    u_char                         text[NGX_HTTP_RESILIENCE_NAME + 1
                                        + NGX_HTTP_RESILIENCE_KEY_TEXT];

    key = provider->key;

    name = provider->name.len;
    ngx_memcpy(text, provider->name.data, name);
    text[name++] = '\0';

    for (i = 0; i < key->n; i++) {

        secret = &key->secrets[i];
        len = ngx_min(secret->value.len, NGX_HTTP_RESILIENCE_KEY_TEXT);

        ngx_memcpy(text + name, secret->value.data, len);

        if (HMAC(EVP_sha256(), zone->shared->hmac_key,
                 sizeof(zone->shared->hmac_key), text, name + len, md, &len)
            == NULL)
        {
            ngx_memzero(md, sizeof(md));
        }

        ngx_memcpy(&secret->hash, md, sizeof(secret->hash));
    }

    ngx_explicit_memzero(text, sizeof(text));

    key->hashed = zone->shared;
}


uint32_t
ngx_http_resilience_key_stamp(ngx_http_resilience_provider_t *provider)
{
    ngx_http_resilience_key_t  *key;

    key = provider->key;

    return (key && key->n == 1) ? (uint32_t) key->secrets[0].hash | 1 : 0;
}
