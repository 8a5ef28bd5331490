
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


/*
 * Ten times the bytes cost about ten times the CPU time, however they were
 * chosen.  A function that is quadratic takes a hundred times.
 */


#include "llm/dialect.h"
#include "llm/json.h"
#include "tap.h"

#include <stdlib.h>
#include <time.h>


#ifdef __SANITIZE_ADDRESS__
#define SMALL  ((size_t) 1 << 17)
#else
#define SMALL  ((size_t) 1 << 20)
#endif

#define LARGE  (10 * SMALL)
#define MOST   20            /* the noise of a crowded machine included */


typedef struct {
    const char  *what;
    const char  *head;
    const char  *fill;
    const char  *tail;
} text_t;


static const text_t  texts[] = {
    { "one string", "{\"choices\":[{\"message\":{\"content\":\"", "x",
      "\"}}]}" },
    { "escapes", "{\"error\":{\"message\":\"", "\\u0041\\\"", "\"}}" },
    { "a quotation", "{\"error\":{\"message\":\"", "' \\\" '", "\"}}" },
    { "UTF-8", "{\"a\":\"", "\xf0\x9f\x98\x80", "\"}" },
    { "open brackets", "", "[", "" },
    { "open objects", "", "{\"error\":", "" },
    { "pairs of brackets", "[", "[],", "1]" },
    { "members of one name", "{", "\"error\":null,", "\"a\":1}" },
    { "empty choices", "{\"choices\":[", "{},", "{}]}" },
    { "silent choices", "{\"choices\":[",
      "{\"delta\":{\"role\":\"assistant\",\"content\":null}},", "{}]}" },
    { "nulls", "{\"error\":[", "null,", "null]}" },
    { "candidates", "{\"candidates\":[",
      "{\"content\":{\"parts\":[{\"text\":\"\"}]}},", "{}]}" },
    { "silent parts", "{\"candidates\":[{\"content\":{\"parts\":[",
      "{\"text\":\"\"},", "{}]}}]}" },
    { "details", "{\"error\":{\"status\":\"RESOURCE_EXHAUSTED\",\"details\":[",
      "{\"violations\":[{\"quotaId\":\"x\"}]},", "{}]}}" },
    { "a part of an answer each", "[", "{\"candidates\":[{}]},", "{}]" },
    { "white space", "{\"a\":1}", " ", "" },
    { "blank lines", "", "\n", "" },
    { "small events", "", "data: {}\n\n", "" },
    { "events without data", "", "event: x\n\n", "" },
    { "lines of one event", "", "data: \"x\",\n", "\n" },
    { "comments", "", ": x\n", "" },
    { "carriage returns", "", "data: 1\r\r\n", "" }
};


static unsigned char  *space;


static llm_str_t
build(const text_t *t, size_t size)
{
    size_t     len, n;
    llm_str_t  s;

    n = strlen(t->head);
    memcpy(space, t->head, n);

    len = strlen(t->fill);

    for ( /* void */ ; n < size; n += len) {
        memcpy(space + n, t->fill, len);
    }

    len = strlen(t->tail);
    memcpy(space + n, t->tail, len);

    s.data = space;
    s.len = n + len;

    return s;
}


static void
read_answer(const llm_dialect_t *d, llm_str_t text, unsigned status)
{
    llm_answer_t  a;

    memset(&a, 0, sizeof(llm_answer_t));

    a.status = status;
    a.body = text;
    a.whole = 1;
    a.own_key = 1;

    (void) d->classify(&a);
}


static void
read_stream(const llm_dialect_t *d, llm_str_t text, size_t piece)
{
    size_t                n;
    llm_sse_t             s;
    llm_event_t           e;
    llm_stream_t          stream;
    unsigned char         buf[1024];
    res_outcome_e         outcome;
    const unsigned char  *pos, *last;

    memset(&stream, 0, sizeof(llm_stream_t));
    llm_sse_init(&s, buf, sizeof(buf));
    llm_sse_shorten(&s);

    pos = text.data;
    last = text.data + text.len;

    while (pos < last) {
        n = (size_t) (last - pos);
        n = (n < piece) ? n : piece;

        while (llm_sse_next(&s, &pos, pos + n, &e)) {

            if (d->follow) {
                d->follow(&stream, &e);
            }

            (void) d->event(&e, &outcome);

            n = (size_t) (last - pos);
            n = (n < piece) ? n : piece;
        }
    }
}


static void
read_event(const llm_dialect_t *d, llm_str_t text)
{
    llm_event_t    e;
    res_outcome_e  outcome;

    memset(&e, 0, sizeof(llm_event_t));
    e.data = text;

    (void) d->event(&e, &outcome);
}


static double
cost(const text_t *t, size_t size)
{
    unsigned              n;
    llm_str_t             text;
    struct timespec       from, to;
    llm_json_scan_t       scan;
    const llm_dialect_t  *d;

    static const char *const  names[] = { "model" };

    text = build(t, size);

    (void) clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);

    for (n = 0; (d = llm_dialect_get(n)) != NULL; n++) {

        if (d->event == NULL) {
            continue;
        }

        read_answer(d, text, 200);
        read_answer(d, text, 400);
        read_answer(d, text, 429);
        read_event(d, text);
        read_stream(d, text, text.len);
        read_stream(d, text, 1000);
    }

    llm_json_scan_init(&scan, names, 1, NULL, 0);
    (void) llm_json_scan(&scan, text.data, text.len);

    (void) clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);

    return (double) (to.tv_sec - from.tv_sec) * 1000
           + (double) (to.tv_nsec - from.tv_nsec) / 1e6;
}


int
main(void)
{
    double  small, large;
    size_t  i;

    space = malloc(LARGE + 4096);

    if (space == NULL) {
        abort();
    }

    for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {

        small = cost(&texts[i], SMALL);
        large = cost(&texts[i], LARGE);

        ok(large < MOST * (small > 1 ? small : 1), "%s: %.1f ms, ten times as "
           "much %.1f ms", texts[i].what, small, large);
    }

    free(space);

    return done_testing();
}
