
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "llm/sse.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>


/* the events must not depend on how the stream came */


#define check(cond)  do { if (!(cond)) { abort(); } } while (0)

#define SMALL  16


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


typedef struct {
    llm_sse_t       sse;
    unsigned char  *buf;
    unsigned char  *log;         /* the events, one behind the other */
    size_t          len;
    size_t          most;        /* of each event's data that is logged */
    unsigned        cut;
} reader_t;


static uint32_t  seed;


static uint32_t
fuzz_random(void)
{
    seed = seed * 1664525 + 1013904223;

    return seed >> 16;
}


static void
reader_put(reader_t *r, llm_str_t s, size_t most)
{
    if (s.len > most) {
        s.len = most;
    }

    memcpy(r->log + r->len, &s.len, sizeof(size_t));
    r->len += sizeof(size_t);

    if (s.len) {
        memcpy(r->log + r->len, s.data, s.len);
        r->len += s.len;
    }
}


/* pieces of at most so many bytes, each from memory of its own */

static void
reader_read(reader_t *r, const uint8_t *data, size_t size, size_t buf,
    size_t most, size_t pieces)
{
    size_t                n;
    llm_event_t           e;
    unsigned char        *piece;
    const unsigned char  *pos;

    memset(r, 0, sizeof(reader_t));

    /* an event takes two bytes at the least */

    r->most = most;
    r->log = malloc((size + 2) * (1 + 2 * sizeof(size_t)));
    r->buf = malloc(buf ? buf : 1);
    check(r->log != NULL && r->buf != NULL);

    llm_sse_init(&r->sse, r->buf, buf);

    while (size) {
        n = (pieces == 0) ? size : 1 + fuzz_random() % pieces;
        n = (n < size) ? n : size;

        piece = malloc(n);
        check(piece != NULL);
        memcpy(piece, data, n);

        pos = piece;

        while (llm_sse_next(&r->sse, &pos, piece + n, &e)) {
            check(pos > piece && pos <= piece + n);
            check(e.name.len <= LLM_SSE_NAME);
            check(!e.cut || e.data.len == buf);

            reader_put(r, e.name, LLM_SSE_NAME);
            reader_put(r, e.data, r->most);
            r->cut += e.cut;
        }

        check(pos == piece + n);
        free(piece);

        data += n;
        size -= n;
    }
}


static void
reader_alike(reader_t *a, reader_t *b)
{
    check(a->len == b->len);
    check(memcmp(a->log, b->log, a->len) == 0);
    check(llm_sse_between(&a->sse) == llm_sse_between(&b->sse));
}


static void
reader_done(reader_t *r)
{
    free(r->log);
    free(r->buf);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t    i;
    reader_t  whole, bytes, pieces, small, head;

    seed = (uint32_t) size;

    for (i = 0; i < size; i++) {
        seed = seed * 31 + data[i];
    }

    reader_read(&whole, data, size, size, size, 0);
    reader_read(&bytes, data, size, size, size, 1);
    reader_read(&pieces, data, size, size, size, 24);

    check(whole.cut == 0 && bytes.cut == 0 && pieces.cut == 0);
    reader_alike(&whole, &bytes);
    reader_alike(&whole, &pieces);

    /* too small a buffer shows the beginning of each */

    reader_read(&head, data, size, size, SMALL, 0);
    reader_read(&small, data, size, SMALL, SMALL, 1);
    reader_alike(&head, &small);

    reader_done(&whole);
    reader_done(&bytes);
    reader_done(&pieces);
    reader_done(&head);
    reader_done(&small);

    return 0;
}
