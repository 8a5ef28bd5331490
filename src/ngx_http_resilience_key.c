
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "ngx_http_resilience.h"


/*
 * A provider's credential.  A key file is looked at once a second at most,
 * and read again when it has changed.  What is in it is never logged.
 */


#define NGX_HTTP_RESILIENCE_KEY_LEN  4096


static ngx_int_t ngx_http_resilience_key_read(ngx_http_resilience_key_t *key,
    ngx_log_t *log, ngx_uint_t level);
static ngx_int_t ngx_http_resilience_key_set(ngx_http_resilience_key_t *key,
    u_char *data, size_t len);
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

    if (fi.st_mode & 0137) {
        ngx_conf_log_error(NGX_LOG_WARN, cf, 0,
                           "key file \"%V\" has permissions %04o, "
                           "use 0640 or less", &key->path,
                           (int) (fi.st_mode & 07777));
    }

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


ngx_int_t
ngx_http_resilience_key_init(ngx_conf_t *cf,
    ngx_http_resilience_provider_t *provider)
{
    const char                 *prefix;
    ngx_http_resilience_key_t  *key;

    key = provider->key;

    if (key == NULL) {
        return NGX_OK;
    }

    prefix = provider->dialect->key_prefix;

    key->prefix = ngx_strlen(prefix);
    key->buf = ngx_pnalloc(cf->pool,
                           key->prefix + NGX_HTTP_RESILIENCE_KEY_LEN);
    if (key->buf == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(key->buf, prefix, key->prefix);

    if (key->path.len == 0) {

        if (ngx_http_resilience_key_set(key, key->secret.data, key->secret.len)
            != NGX_OK)
        {
            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "\"llm_key\" of provider \"%V\" in %s:%ui is too "
                          "long or has a character that no header may have",
                          &provider->name, provider->place.file,
                          provider->place.line);
            return NGX_ERROR;
        }

        return NGX_OK;
    }

    /*
     * What the master can read the workers may not be allowed to; the first
     * reading serves until the file changes.
     */

    (void) ngx_http_resilience_key_read(key, cf->log, NGX_LOG_WARN);

    return NGX_OK;
}


ngx_str_t *
ngx_http_resilience_key_get(ngx_http_resilience_key_t *key, ngx_log_t *log)
{
    ngx_file_info_t  fi;

    if (key->path.len == 0 || key->checked == ngx_time()) {
        return &key->value;
    }

    key->checked = ngx_time();

    if (ngx_file_info(key->path.data, &fi) == NGX_FILE_ERROR) {

        if (ngx_errno != NGX_ENOENT && ngx_errno != NGX_ENOTDIR) {
            /* this process is not allowed to look, the master was */
            return &key->value;
        }

        if (key->uniq) {
            ngx_log_error(NGX_LOG_ERR, log, ngx_errno,
                          "key file \"%V\" is gone, its provider is skipped",
                          &key->path);
        }

        key->uniq = 0;
        key->value.len = 0;

        return &key->value;
    }

    if (ngx_file_mtime(&fi) != key->mtime || ngx_file_size(&fi) != key->size
        || ngx_file_uniq(&fi) != key->uniq)
    {
        if (ngx_http_resilience_key_read(key, log, NGX_LOG_ERR) == NGX_OK) {
            ngx_log_error(NGX_LOG_NOTICE, log, 0,
                          "key file \"%V\" was read again", &key->path);
        }
    }

    return &key->value;
}


static ngx_int_t
ngx_http_resilience_key_read(ngx_http_resilience_key_t *key, ngx_log_t *log,
    ngx_uint_t level)
{
    u_char          *p, *last;
    ssize_t          n;
    ngx_fd_t         fd;
    ngx_file_info_t  fi;
    u_char           buf[NGX_HTTP_RESILIENCE_KEY_LEN];

    key->value.len = 0;

    fd = ngx_open_file(key->path.data, NGX_FILE_RDONLY, NGX_FILE_OPEN, 0);

    if (fd == NGX_INVALID_FILE) {

        /* remembered, so that it is said once and not every second */

        if (ngx_file_info(key->path.data, &fi) != NGX_FILE_ERROR) {
            key->mtime = ngx_file_mtime(&fi);
            key->size = ngx_file_size(&fi);
            key->uniq = ngx_file_uniq(&fi);
        }

        ngx_log_error(level, log, ngx_errno,
                      ngx_open_file_n " \"%V\" failed, its provider is skipped",
                      &key->path);
        return NGX_ERROR;
    }

    n = NGX_ERROR;

    if (ngx_fd_info(fd, &fi) != NGX_FILE_ERROR) {
        n = ngx_read_fd(fd, buf, sizeof(buf));
    }

    if (n == NGX_ERROR) {
        ngx_log_error(level, log, ngx_errno,
                      ngx_read_fd_n " \"%V\" failed, its provider is skipped",
                      &key->path);
        (void) ngx_close_file(fd);
        return NGX_ERROR;
    }

    (void) ngx_close_file(fd);

    key->mtime = ngx_file_mtime(&fi);
    key->size = ngx_file_size(&fi);
    key->uniq = ngx_file_uniq(&fi);

    p = buf;
    last = buf + n;

    while (p < last && *p <= ' ') {
        p++;
    }

    while (last > p && *(last - 1) <= ' ') {
        last--;
    }

    if (p == last
        || ngx_http_resilience_key_set(key, p, last - p) != NGX_OK)
    {
        ngx_log_error(level, log, 0,
                      "key file \"%V\" is empty or holds no single key, "
                      "its provider is skipped", &key->path);
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_resilience_key_set(ngx_http_resilience_key_t *key, u_char *data,
    size_t len)
{
    size_t  i;

    if (len >= NGX_HTTP_RESILIENCE_KEY_LEN) {
        return NGX_DECLINED;
    }

    for (i = 0; i < len; i++) {
        if (data[i] < ' ' || data[i] == 0x7f) {
            return NGX_DECLINED;
        }
    }

    ngx_memcpy(key->buf + key->prefix, data, len);

    key->value.data = key->buf;
    key->value.len = len ? key->prefix + len : 0;

    return NGX_OK;
}
