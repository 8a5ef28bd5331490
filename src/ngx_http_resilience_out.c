
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "ngx_http_resilience.h"


/* a text that is written piece by piece and then sent as an answer */


void
ngx_http_resilience_out_init(ngx_http_resilience_out_t *out, ngx_pool_t *pool)
{
    ngx_memzero(out, sizeof(ngx_http_resilience_out_t));

    out->pool = pool;
    out->last = &out->first;
}


ngx_int_t
ngx_http_resilience_out_send(ngx_http_request_t *r, ngx_uint_t status,
    const char *type, ngx_http_resilience_out_t *out)
{
    ngx_int_t         rc;
    ngx_table_elt_t  *h;

    if (out->failed || out->buf == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    h->hash = 1;
    ngx_str_set(&h->key, "Cache-Control");
    ngx_str_set(&h->value, "no-store");
    ngx_http_resilience_unlink(h);

    r->headers_out.status = status;
    r->headers_out.content_length_n = out->size;
    r->headers_out.content_type.data = (u_char *) type;
    r->headers_out.content_type.len = ngx_strlen(type);
    r->headers_out.content_type_len = r->headers_out.content_type.len;

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    out->buf->last_buf = 1;

    return ngx_http_output_filter(r, out->first);
}


/* at most a page's quarter at a time */

void
ngx_http_resilience_out_printf(ngx_http_resilience_out_t *out,
    const char *fmt, ...)
{
    u_char       *p;
    va_list       args;
    ngx_buf_t    *b;
    ngx_chain_t  *cl;

    if (out->failed) {
        return;
    }

    if (out->buf == NULL || out->buf->end - out->buf->last < 1024) {

        b = ngx_create_temp_buf(out->pool, 16 * 1024);
        cl = ngx_alloc_chain_link(out->pool);

        if (b == NULL || cl == NULL) {
            out->failed = 1;
            return;
        }

        cl->buf = b;
        cl->next = NULL;

        *out->last = cl;
        out->last = &cl->next;
        out->buf = b;
    }

    va_start(args, fmt);
    p = ngx_vslprintf(out->buf->last, out->buf->end, fmt, args);
    va_end(args);

    out->size += p - out->buf->last;
    out->buf->last = p;
}


void
ngx_http_resilience_out_string(ngx_http_resilience_out_t *out,
    const u_char *data, size_t len)
{
    llm_str_t  text;
    u_char     buf[6 * NGX_HTTP_RESILIENCE_NAME * 2];

    text.data = data;
    text.len = ngx_min(len, (size_t) 2 * NGX_HTTP_RESILIENCE_NAME);

    len = llm_json_escape(buf, text);

    ngx_http_resilience_out_printf(out, "\"%*s\"", len, buf);
}


void
ngx_http_resilience_out_label(ngx_http_resilience_out_t *out,
    const u_char *data, size_t len)
{
    u_char  buf[NGX_HTTP_RESILIENCE_LABEL];

    len = ngx_http_resilience_out_escape(buf, data, len);

    ngx_http_resilience_out_printf(out, "\"%*s\"", len, buf);
}


size_t
ngx_http_resilience_out_escape(u_char *buf, const u_char *data, size_t len)
{
    size_t      i;
    u_char     *p;
    llm_str_t   text;

    text.data = data;
    text.len = ngx_min(len, (size_t) NGX_HTTP_RESILIENCE_NAME);

    p = buf;

    for (i = 0; i < text.len; i++) {

        if (data[i] >= 0x80 && !llm_json_utf8(text)) {
            p = ngx_cpymem(p, "\xef\xbf\xbd", 3);     /* U+FFFD */
            continue;
        }

        if (data[i] == '"' || data[i] == '\\' || data[i] == '\n') {
            *p++ = '\\';
        }

        *p++ = (data[i] == '\n') ? 'n' : data[i];
    }

    return p - buf;
}
