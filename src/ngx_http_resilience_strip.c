
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "ngx_http_resilience_usage.h"


/*
 * A stream that was asked for its tokens on our own account tells them in an
 * event that the client knows nothing of: it is taken out, and every other
 * byte is passed on.
 *
 * Nothing is copied but the beginning of an event whose end has not come, and
 * that may be the one; a longer one is not.  A buffer that loses a part goes
 * on in pieces: the last one is the buffer itself, which therefore is not used
 * anew by whose it is before the others, which come first, were sent.
 */


struct ngx_http_resilience_strip_s {
    ngx_pool_t                      *pool;
    ngx_chain_t                     *own;     /* buffers of ours; free: those
                                                 that are empty */
    ngx_chain_t                     *out;
    ngx_chain_t                    **last;

    ngx_buf_t                       *tail;    /* an event's beginning, or NULL;
                                                 not passed on yet */
    ngx_buf_t                       *buf;     /* being read */
    uint64_t                         base;    /* where it begins */
    u_char                          *from;    /* of it, what is left to say
                                                 something of */
    u_char                          *piece;   /* what goes on, up to ... */
    u_char                          *end;

    unsigned                         passing:1;  /* the event's beginning was
                                                    passed on */
    unsigned                         lf:1;    /* one is the rest of what was
                                                 taken out */
};


static u_char *ngx_http_resilience_strip_pos(ngx_http_resilience_strip_t *s,
    uint64_t offset);
static ngx_int_t ngx_http_resilience_strip_piece(
    ngx_http_resilience_strip_t *s, u_char *pos, u_char *last);
static ngx_int_t ngx_http_resilience_strip_keep(
    ngx_http_resilience_strip_t *s, u_char *pos, u_char *last);
static ngx_int_t ngx_http_resilience_strip_tail(
    ngx_http_resilience_strip_t *s);
static ngx_int_t ngx_http_resilience_strip_special(
    ngx_http_resilience_attempt_t *a, ngx_buf_t *b);
static ngx_int_t ngx_http_resilience_strip_push(
    ngx_http_resilience_strip_t *s, ngx_buf_t *b);
static ngx_buf_t *ngx_http_resilience_strip_buf(
    ngx_http_resilience_strip_t *s);


ngx_int_t
ngx_http_resilience_strip_init(ngx_http_resilience_attempt_t *a)
{
    a->strip = ngx_pcalloc(a->request->pool,
                           sizeof(ngx_http_resilience_strip_t));
    if (a->strip == NULL) {
        return NGX_ERROR;
    }

    a->strip->pool = a->request->pool;
    a->strip->last = &a->strip->out;

    return NGX_OK;
}


ngx_int_t
ngx_http_resilience_strip_start(ngx_http_resilience_attempt_t *a, ngx_buf_t *b)
{
    ngx_http_resilience_strip_t  *s;

    s = a->strip;

    if (!ngx_buf_in_memory(b)) {
        return ngx_http_resilience_strip_special(a, b);
    }

    s->buf = b;
    s->base = a->sse->offset;
    s->from = b->pos;
    s->piece = NULL;

    if (s->lf && b->pos < b->last) {
        s->lf = 0;
        s->from += (*b->pos == LF);
    }

    return NGX_OK;
}


static u_char *
ngx_http_resilience_strip_pos(ngx_http_resilience_strip_t *s, uint64_t offset)
{
    return s->buf->pos + (size_t) (offset - s->base);
}


ngx_int_t
ngx_http_resilience_strip_event(ngx_http_resilience_strip_t *s,
    llm_event_t *event, const u_char *pos, ngx_uint_t drop)
{
    ngx_uint_t  passing;

    passing = 0;

    if (event->start >= s->base) {

        /* what is kept is of one before it, that had no data */

        if (ngx_http_resilience_strip_tail(s) != NGX_OK) {
            return NGX_ERROR;
        }

    } else {
        passing = s->passing;
    }

    s->passing = 0;

    if (!drop || passing) {
        return ngx_http_resilience_strip_tail(s);
    }

    if (event->start >= s->base
        && ngx_http_resilience_strip_piece(s, s->from,
                              ngx_http_resilience_strip_pos(s, event->start))
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (s->tail) {
        s->tail->last = s->tail->pos;
        s->tail = NULL;
    }

    s->from = (u_char *) pos;
    s->lf = (pos == s->buf->last && pos[-1] == CR);

    return NGX_OK;
}


ngx_int_t
ngx_http_resilience_strip_end(ngx_http_resilience_attempt_t *a)
{
    u_char                       *begin, *last;
    uint64_t                      start;
    ngx_buf_t                    *b;
    ngx_uint_t                    begun;
    ngx_http_resilience_strip_t  *s;

    s = a->strip;
    b = s->buf;
    last = b->last;
    begin = last;

    begun = llm_sse_begun(a->sse, &start);

    if (!begun || start >= s->base) {

        s->passing = 0;

        if (ngx_http_resilience_strip_tail(s) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    if (begun && !s->passing) {
        begin = (start < s->base) ? s->from
                                  : ngx_http_resilience_strip_pos(s, start);

        if (ngx_http_resilience_strip_keep(s, begin, last) == NGX_DECLINED) {

            if (ngx_http_resilience_strip_tail(s) != NGX_OK) {
                return NGX_ERROR;
            }

            s->passing = 1;
            begin = last;
        }
    }

    if (ngx_http_resilience_strip_piece(s, s->from, begin) != NGX_OK) {
        return NGX_ERROR;
    }

    if (s->piece == b->pos && s->end == last) {
        return ngx_http_resilience_strip_push(s, b);
    }

    /* what is cached is in a file, too, and that has all of it */

    b->in_file = 0;

    if (s->piece) {
        b->pos = s->piece;
        b->last = s->end;

        return ngx_http_resilience_strip_push(s, b);
    }

    b->pos = last;

    if (!b->last_in_chain && !b->last_buf) {
        return NGX_OK;
    }

    b = ngx_calloc_buf(s->pool);
    if (b == NULL) {
        return NGX_ERROR;
    }

    b->sync = 1;
    b->last_in_chain = s->buf->last_in_chain;
    b->last_buf = s->buf->last_buf;

    return ngx_http_resilience_strip_special(a, b);
}


/* the last piece waits: it will be the buffer itself */

static ngx_int_t
ngx_http_resilience_strip_piece(ngx_http_resilience_strip_t *s, u_char *pos,
    u_char *last)
{
    ngx_buf_t  *b;

    if (pos == last) {
        return NGX_OK;
    }

    if (s->piece) {
        b = ngx_http_resilience_strip_buf(s);
        if (b == NULL) {
            return NGX_ERROR;
        }

        b->pos = s->piece;
        b->last = s->end;

        if (ngx_http_resilience_strip_push(s, b) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    s->piece = pos;
    s->end = last;

    return NGX_OK;
}


/* NGX_DECLINED: it is too long to be the one, or there is no memory for it */

static ngx_int_t
ngx_http_resilience_strip_keep(ngx_http_resilience_strip_t *s, u_char *pos,
    u_char *last)
{
    ngx_buf_t  *b;

    if ((s->tail ? s->tail->last - s->tail->pos : 0) + (last - pos)
        > NGX_HTTP_RESILIENCE_ASKED_EVENT)
    {
        return NGX_DECLINED;
    }

    if (s->tail == NULL) {
        b = ngx_http_resilience_strip_buf(s);
        if (b == NULL) {
            return NGX_DECLINED;
        }

        if (b->start == NULL) {
            b->start = ngx_pnalloc(s->pool, NGX_HTTP_RESILIENCE_ASKED_EVENT);
            if (b->start == NULL) {
                return NGX_DECLINED;
            }

            b->end = b->start + NGX_HTTP_RESILIENCE_ASKED_EVENT;
        }

        b->pos = b->start;
        b->last = b->start;

        s->tail = b;
    }

    s->tail->last = ngx_cpymem(s->tail->last, pos, last - pos);

    return NGX_OK;
}


/* what was kept goes on */

static ngx_int_t
ngx_http_resilience_strip_tail(ngx_http_resilience_strip_t *s)
{
    ngx_buf_t  *b;

    b = s->tail;
    s->tail = NULL;

    return b ? ngx_http_resilience_strip_push(s, b) : NGX_OK;
}


/* an event that a stream ends in is not passed on, unless all is well */

static ngx_int_t
ngx_http_resilience_strip_special(ngx_http_resilience_attempt_t *a,
    ngx_buf_t *b)
{
    if ((b->last_in_chain || b->last_buf) && a->terminal
        && ngx_http_resilience_strip_tail(a->strip) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_resilience_strip_push(a->strip, b);
}


static ngx_int_t
ngx_http_resilience_strip_push(ngx_http_resilience_strip_t *s, ngx_buf_t *b)
{
    ngx_chain_t  *cl;

    cl = ngx_alloc_chain_link(s->pool);
    if (cl == NULL) {
        return NGX_ERROR;
    }

    cl->buf = b;
    cl->next = NULL;

    *s->last = cl;
    s->last = &cl->next;

    return NGX_OK;
}


/* one that is empty, so that a long stream takes no more than a short one */

static ngx_buf_t *
ngx_http_resilience_strip_buf(ngx_http_resilience_strip_t *s)
{
    ngx_buf_t    *b;
    ngx_chain_t  *cl;

    for (cl = s->own; cl; cl = cl->next) {
        if (cl->buf->pos == cl->buf->last) {
            return cl->buf;
        }
    }

    b = ngx_calloc_buf(s->pool);
    cl = ngx_alloc_chain_link(s->pool);

    if (b == NULL || cl == NULL) {
        return NULL;
    }

    b->memory = 1;

    cl->buf = b;
    cl->next = s->own;
    s->own = cl;

    return b;
}


ngx_chain_t *
ngx_http_resilience_strip_out(ngx_http_resilience_strip_t *s)
{
    ngx_chain_t  *out;

    out = s->out;

    s->out = NULL;
    s->last = &s->out;

    return out;
}


void
ngx_http_resilience_strip_sent(ngx_http_resilience_strip_t *s,
    ngx_chain_t *out)
{
    ngx_chain_t  *next;

    for ( /* void */ ; out; out = next) {
        next = out->next;
        ngx_free_chain(s->pool, out);
    }
}
