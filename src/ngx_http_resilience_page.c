
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "ngx_http_resilience.h"
#include "ngx_http_resilience_page.h"


/*
 * The status as a page for people: one document, the same for all, that asks
 * its own location for the JSON.
 */


typedef struct {
    ngx_str_t    key;
    ngx_str_t    value;
} ngx_http_resilience_page_header_t;


static ngx_int_t ngx_http_resilience_page_quality(ngx_str_t *accept,
    const char *type);
static u_char *ngx_http_resilience_page_end(u_char *p, u_char *last,
    u_char ch);
static void ngx_http_resilience_page_trim(ngx_str_t *text);
static ngx_int_t ngx_http_resilience_page_q(u_char *p, u_char *last);


static ngx_http_resilience_page_header_t  ngx_http_resilience_page_headers[] = {
    { ngx_string("Cache-Control"), ngx_string("no-store") },
    { ngx_string("Content-Security-Policy"),
      ngx_string(NGX_HTTP_RESILIENCE_PAGE_CSP) },
    { ngx_string("X-Content-Type-Options"), ngx_string("nosniff") },
    { ngx_string("Referrer-Policy"), ngx_string("no-referrer") },
    { ngx_null_string, ngx_null_string }
};


/*
 * A browser names text/html; programs name nothing, all, or JSON.
 */

ngx_uint_t
ngx_http_resilience_page_wanted(ngx_http_request_t *r)
{
    ngx_int_t         html;
    ngx_table_elt_t  *accept;

    accept = ngx_http_resilience_header(&r->headers_in.headers, "accept");

    if (accept == NULL) {
        return 0;
    }

    html = ngx_http_resilience_page_quality(&accept->value, "text/html");

    return html > 0
           && html > ngx_http_resilience_page_quality(&accept->value,
                                                      "application/json");
}


/* thousandths; -1: the type is not named */

static ngx_int_t
ngx_http_resilience_page_quality(ngx_str_t *accept, const char *type)
{
    u_char     *p, *end, *last;
    ngx_str_t   name;

    last = accept->data + accept->len;

    for (p = accept->data; p < last; p = end + 1) {

        end = ngx_http_resilience_page_end(p, last, ',');

        name.data = p;
        name.len = ngx_http_resilience_page_end(p, end, ';') - p;
        p += name.len;

        ngx_http_resilience_page_trim(&name);

        if (name.len == ngx_strlen(type)
            && ngx_strncasecmp(name.data, (u_char *) type, name.len) == 0)
        {
            return ngx_http_resilience_page_q(p, end);
        }
    }

    return -1;
}


static u_char *
ngx_http_resilience_page_end(u_char *p, u_char *last, u_char ch)
{
    p = ngx_strlchr(p, last, ch);

    return p ? p : last;
}


static void
ngx_http_resilience_page_trim(ngx_str_t *text)
{
    while (text->len && (*text->data == ' ' || *text->data == '\t')) {
        text->data++;
        text->len--;
    }

    while (text->len && (text->data[text->len - 1] == ' '
                         || text->data[text->len - 1] == '\t'))
    {
        text->len--;
    }
}


/* the q among parameters, each after a semicolon; 1000: there is none */

static ngx_int_t
ngx_http_resilience_page_q(u_char *p, u_char *last)
{
    ngx_int_t   q;
    ngx_str_t   param;

    while (p < last) {

        param.data = ++p;
        p = ngx_http_resilience_page_end(p, last, ';');
        param.len = p - param.data;

        ngx_http_resilience_page_trim(&param);

        if (param.len < 3 || (param.data[0] | 0x20) != 'q'
            || param.data[1] != '=')
        {
            continue;
        }

        q = ngx_atofp(param.data + 2, param.len - 2, 3);

        return (q == NGX_ERROR) ? 1000 : ngx_min(q, 1000);
    }

    return 1000;
}


ngx_int_t
ngx_http_resilience_page(ngx_http_request_t *r)
{
    ngx_int_t                           rc;
    ngx_buf_t                          *b;
    ngx_chain_t                         out;
    ngx_table_elt_t                    *h;
    ngx_http_resilience_page_header_t  *header;

    for (header = ngx_http_resilience_page_headers; header->key.len; header++)
    {
        h = ngx_list_push(&r->headers_out.headers);
        if (h == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        h->hash = 1;
        h->key = header->key;
        h->value = header->value;
        ngx_http_resilience_unlink(h);
    }

    b = ngx_calloc_buf(r->pool);
    if (b == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    b->pos = (u_char *) ngx_http_resilience_page_html;
    b->last = b->pos + sizeof(ngx_http_resilience_page_html) - 1;
    b->memory = 1;
    b->last_buf = 1;

    r->headers_out.status = NGX_HTTP_OK;
    r->headers_out.content_length_n = b->last - b->pos;
    ngx_str_set(&r->headers_out.content_type, "text/html");
    r->headers_out.content_type_len = r->headers_out.content_type.len;
    ngx_str_set(&r->headers_out.charset, "utf-8");

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    out.buf = b;
    out.next = NULL;

    return ngx_http_output_filter(r, &out);
}
