
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "llm/json.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>


/* what is found must not depend on how the text came */


#define check(cond)  do { if (!(cond)) { abort(); } } while (0)


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


/* little enough room for texts that some are lost */
#define KEPT  64


typedef struct {
    llm_json_scan_t  scan;
    unsigned char    buf[KEPT];
} fuzz_scan_t;


static const char *const  names[] = { "model", "usage", "response.usage" };

static uint32_t  seed;


static uint32_t
fuzz_random(void)
{
    seed = seed * 1664525 + 1013904223;

    return seed >> 16;
}


/* the same as the library's, told by what the characters decode to */

static int
fuzz_utf8(llm_str_t s)
{
    size_t    i, n;
    uint32_t  c;

    static const uint32_t  least[] = { 0, 0, 0x80, 0x800, 0x10000 };

    while (s.len) {
        c = s.data[0];

        n = (c < 0x80) ? 1 : (c >> 5 == 6) ? 2 : (c >> 4 == 14) ? 3
            : (c >> 3 == 30) ? 4 : 0;

        if (n == 0 || n > s.len) {
            return 0;
        }

        c = (n == 1) ? c : c & (0xff >> (n + 1));

        for (i = 1; i < n; i++) {

            if (s.data[i] >> 6 != 2) {
                return 0;
            }

            c = c << 6 | (s.data[i] & 0x3f);
        }

        if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff)) {
            return 0;
        }

        s.data += n;
        s.len -= n;
    }

    return 1;
}


static void
fuzz_start(fuzz_scan_t *s)
{
    llm_json_scan_init(&s->scan, names, 3, s->buf, KEPT);
}


static void
fuzz_scan(fuzz_scan_t *s, llm_str_t text, size_t most)
{
    size_t          n;
    unsigned char  *piece;

    fuzz_start(s);

    while (text.len) {
        n = 1 + fuzz_random() % most;

        if (n > text.len) {
            n = text.len;
        }

        piece = malloc(n);
        check(piece != NULL);
        memcpy(piece, text.data, n);

        (void) llm_json_scan(&s->scan, piece, n);

        free(piece);

        text.data += n;
        text.len -= n;
    }
}


static uint32_t
fuzz_kept(const llm_json_scan_t *s)
{
    return (s->nspans < LLM_JSON_SPANS) ? s->nspans : LLM_JSON_SPANS;
}


static void
fuzz_alike(const fuzz_scan_t *a, const fuzz_scan_t *b)
{
    uint32_t   i, n;
    llm_str_t  t, u;

    n = fuzz_kept(&a->scan);

    check(a->scan.status == b->scan.status);
    check(a->scan.offset == b->scan.offset);
    check(a->scan.nspans == b->scan.nspans);
    check(memcmp(a->scan.spans, b->scan.spans, n * sizeof(llm_json_span_t))
          == 0);

    for (i = 0; i < n; i++) {
        t = llm_json_scan_text(&a->scan, &a->scan.spans[i]);
        u = llm_json_scan_text(&b->scan, &b->scan.spans[i]);

        check(t.len == u.len);
        check(t.len == 0 || memcmp(t.data, u.data, t.len) == 0);
    }
}


/* what the scanner found is what the readers of whole texts find */

static void
fuzz_spans(const llm_json_scan_t *s, llm_str_t text)
{
    uint32_t   i, n, seen;
    llm_str_t  value, first, kept;

    n = fuzz_kept(s);
    seen = 0;

    for (i = 0; i < n; i++) {
        check(s->spans[i].start < s->spans[i].end);
        check(s->spans[i].end <= text.len);

        value.data = text.data + s->spans[i].start;
        value.len = s->spans[i].end - s->spans[i].start;

        check(llm_json_valid(value) || !fuzz_utf8(text));

        kept = llm_json_scan_text(s, &s->spans[i]);
        check(kept.len == 0 || kept.len == value.len);
        check(kept.len == 0 || memcmp(kept.data, value.data, kept.len) == 0);

        /* the first of a name; of objects with a name, it may be in a later */

        if (!(seen >> s->spans[i].name & 1) && s->spans[i].name < 2) {
            check(llm_json_member(text, names[s->spans[i].name], &first));
            check(first.data == value.data && first.len == value.len);
        }

        seen |= 1u << s->spans[i].name;
    }

    for (i = 0; i < 3 && s->nspans == n; i++) {
        check((seen >> i & 1) || !llm_json_path(text, names[i], &first));
    }
}


/* every value is valid if the whole is */

static void
fuzz_walk(llm_str_t text, int valid, unsigned depth)
{
    llm_str_t        key, value;
    llm_json_iter_t  it;

    llm_json_iter(&it, text);

    while (llm_json_next(&it, &key, &value)) {
        check(value.data >= text.data);
        check(value.data + value.len <= text.data + text.len);

        if (valid && depth < 4) {
            check(llm_json_valid(value));
            check(!it.object || llm_json_valid(key));
        }

        if (depth < 8) {
            fuzz_walk(value, valid, depth + 1);
        }
    }
}


static void
fuzz_paths(llm_str_t text)
{
    size_t         len;
    llm_str_t      values[3], value;
    unsigned char  buf[16];

    static const char *const  members[] = { "model", "error", "" };

    (void) llm_json_members(text, members, values, 3);

    if (llm_json_member(text, "error", &value)) {
        check(value.data == values[1].data && value.len == values[1].len);
    }

    (void) llm_json_path(text, "error.code", &value);
    (void) llm_json_path(text, "choices.0.delta.content", &value);
    (void) llm_json_path(text, "0.1.2", &value);

    len = llm_json_decode(text, buf, sizeof(buf));
    check(len == (size_t) -1 || len <= sizeof(buf));
    check(llm_json_prefix(text, buf, sizeof(buf)) <= sizeof(buf));
    (void) llm_json_equals(text, "model");
}


static void
fuzz_escape(llm_str_t text)
{
    size_t          len, n;
    llm_str_t       quoted;
    unsigned char  *buf, *back;

    len = llm_json_escape(NULL, text);

    buf = malloc(len + 2);
    back = malloc(len + 1);
    check(buf != NULL && back != NULL);

    buf[0] = '"';
    check(llm_json_escape(buf + 1, text) == len);
    buf[len + 1] = '"';

    quoted.data = buf;
    quoted.len = len + 2;
    check(llm_json_valid(quoted));

    n = llm_json_decode(quoted, back, len);
    check(n != (size_t) -1);

    if (fuzz_utf8(text)) {
        check(n == text.len && memcmp(back, text.data, n) == 0);
    }

    free(buf);
    free(back);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int          valid;
    llm_str_t    text;
    fuzz_scan_t  whole, bytes, pieces;

    text.data = data;
    text.len = size;

    for (seed = (uint32_t) size; size; size--) {
        seed = seed * 31 + data[size - 1];
    }

    fuzz_start(&whole);
    (void) llm_json_scan(&whole.scan, text.data, text.len);

    fuzz_scan(&bytes, text, 1);
    fuzz_alike(&whole, &bytes);

    fuzz_scan(&pieces, text, 24);
    fuzz_alike(&whole, &pieces);

    valid = llm_json_valid(text);

    if (llm_json_kind(llm_json_trim(text)) == '{') {
        check(valid == (whole.scan.status == LLM_JSON_DONE && fuzz_utf8(text)));

    } else {
        check(whole.scan.status != LLM_JSON_DONE);
    }

    if (whole.scan.status == LLM_JSON_DONE) {
        fuzz_spans(&whole.scan, text);
    }

    fuzz_walk(text, valid, 0);
    fuzz_paths(text);
    fuzz_escape(text);

    return 0;
}
