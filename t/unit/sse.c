
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "llm/sse.h"
#include "tap.h"

#include <stdlib.h>


#define LOG  4096


typedef struct {
    const char    *text;         /* lines end with LF */
    const char    *want;         /* name=data, one event after another, each
                                    with a ; behind it and an LF as $ */
    const char    *what;
} row_t;


static const row_t  rows[] = {

    { "data: a\n\n", "=a;", "an event" },
    { "data: a\n\ndata: b\n\n", "=a;=b;", "two events" },
    { "event: x\ndata: a\n\n", "x=a;", "a name" },
    { "data: a\nevent: x\n\n", "x=a;", "a name behind the data" },
    { "event: x\nevent: y\ndata: a\n\n", "y=a;", "the last name counts" },
    { "event: x\nevent\ndata: a\n\n", "=a;", "a name may be taken back" },
    { "event: x\ndata: a\n\ndata: b\n\n", "x=a;=b;", "a name is for one" },
    { "event: x\n\ndata: b\n\n", "=b;", "without data it is none" },

    { "data:a\n\n", "=a;", "no space" },
    { "data:  a\n\n", "= a;", "only one space goes" },
    { "data:\ta\n\n", "=\ta;", "a tab stays" },
    { "data: a \n\n", "=a ;", "space at the end stays" },
    { "data: a: b\n\n", "=a: b;", "a colon in the data" },
    { "data: :\n\n", "=:;", "a colon is the data" },

    { "data: a\ndata: b\n\n", "=a$b;", "two lines" },
    { "data: a\nid: 5\ndata: b\nretry: 1\n\n", "=a$b;", "lines between" },
    { "data: a\ndata\ndata: b\n\n", "=a$$b;", "an empty line of data" },
    { "data\ndata\n\n", "=$;", "two empty lines" },
    { "data\n\n", "=;", "a name of a field alone" },
    { "data:\n\n", "=;", "no value" },
    { "data: \n\n", "=;", "a space for a value" },

    { ": x\n\n", "", "a comment" },
    { ":\n\n:\n\n", "", "empty comments" },
    { ": x\ndata: a\n\n", "=a;", "a comment before" },
    { "data: a\n: x\n\n", "=a;", "a comment behind" },
    { "data: a\n: x\ndata: b\n\n", "=a$b;", "a comment between" },
    { ": OPENROUTER PROCESSING\n\n: OPENROUTER PROCESSING\n\ndata: a\n\n",
      "=a;", "comments while waiting" },
    { "\n\n\n\ndata: a\n\n\n\n", "=a;", "blank lines" },

    { "id: 1\nretry: 5\n\n", "", "other fields" },
    { "Data: a\nDATA: a\n\n", "", "letters' case counts" },
    { " data: a\n\n", "", "a space before" },
    { "data : a\n\n", "", "a space behind the name" },
    { "dat: a\ndataa: a\ndatabase: a\ndatabases: a\n\n", "", "almost" },
    { "eventual: x\nevents: y\nevent: z\ndata: a\n\n", "z=a;", "almost names" },
    { "a very long field's name without a colon\ndata: a\n\n", "=a;",
      "no field" },
    { "{\"error\":\"x\"}\n\n", "", "JSON is no event" },

    { "\xef\xbb\xbf" "data: a\n\n", "=a;", "a byte order mark" },
    { "\xef\xbb\xbf\ndata: a\n\n", "=a;", "a mark and a blank line" },
    { "\xef\xbb\xbf\xef\xbb\xbf" "data: a\n\n", "", "two marks" },
    { "\xef\xbb" "data: a\n\ndata: b\n\n", "=b;", "most of a mark" },
    { "\xef\ndata: b\n\n", "=b;", "a third of a mark" },
    { "\xef\xbb\n\ndata: b\n\n", "=b;", "two thirds" },
    { "data: \xef\xbb\xbf" "a\n\n", "=\xef\xbb\xbf" "a;", "a mark as data" },
    { "data: a\n\n\xef\xbb\xbf" "data: b\n\n", "=a;", "a mark later" },

    { "data: a", "", "cut in the data" },
    { "data: a\n", "", "cut before the blank line" },
    { "data: a\n\ndata: b\n", "=a;", "cut in the second event" },
    { "data: a\n\nda", "=a;", "cut in a name" },

    { "event: 0123456789012345678901234567890123456789012345678901\n"
      "data: a\n\n",
      "012345678901234567890123456789012345678901234567=a;", "a long name" },

    /* as providers send them */

    { "data: {\"choices\":[{\"delta\":{\"content\":\"Hello\"}}]}\n\n"
      "data: [DONE]\n\n",
      "={\"choices\":[{\"delta\":{\"content\":\"Hello\"}}]};=[DONE];",
      "OpenAI" },
    { "event: message_start\ndata: {\"type\":\"message_start\"}       \n\n"
      "event: ping\ndata: {\"type\": \"ping\"}\n\n"
      "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
      "message_start={\"type\":\"message_start\"}       ;"
      "ping={\"type\": \"ping\"};message_stop={\"type\":\"message_stop\"};",
      "Anthropic" },
    { ": keep-alive\n\n\n\ndata: {}\n\n", "={};", "DeepSeek" }
};


typedef struct {
    llm_sse_t      sse;
    unsigned char  buf[256];
    char           log[LOG];
    size_t         len;
    unsigned       cut;
} reader_t;


static void
reader_init(reader_t *r)
{
    memset(r, 0, sizeof(reader_t));
    llm_sse_init(&r->sse, r->buf, sizeof(r->buf));
}


static void
reader_log(reader_t *r, llm_str_t s, char end)
{
    size_t  i;

    for (i = 0; i < s.len && r->len < LOG - 2; i++) {
        r->log[r->len++] = (s.data[i] == '\n') ? '$' : (char) s.data[i];
    }

    r->log[r->len++] = end;
}


/* feeds from memory of that size, which is gone when the call is over */

static void
reader_feed(reader_t *r, const char *text, size_t len)
{
    unsigned char        *copy;
    llm_event_t           event;
    const unsigned char  *pos;

    copy = malloc(len ? len : 1);

    if (copy == NULL) {
        abort();
    }

    memcpy(copy, text, len);
    pos = copy;

    while (llm_sse_next(&r->sse, &pos, copy + len, &event)) {
        reader_log(r, event.name, '=');
        reader_log(r, event.data, ';');
        r->cut += event.cut;
    }

    if (pos != copy + len) {
        reader_log(r, (llm_str_t) { 0, NULL }, '!');
    }

    free(copy);
}


/* ends of lines: 0 LF, 1 CR, 2 CRLF, 3 each in turn */

static char *
lines(const char *text, int how)
{
    int    end;
    char  *p, *out;

    out = malloc(2 * strlen(text) + 1);

    if (out == NULL) {
        abort();
    }

    end = how;

    for (p = out; *text; text++) {

        if (*text != '\n') {
            *p++ = *text;
            continue;
        }

        if (how == 3) {
            end = (end + 1) % 3;
        }

        if (end) {
            *p++ = '\r';
        }

        if (end != 1) {
            *p++ = '\n';
        }
    }

    *p = '\0';

    return out;
}


static int
splits(const char *text, const char *want)
{
    int       good;
    size_t    i, k, len;
    reader_t  r;

    good = 1;
    len = strlen(text);

    reader_init(&r);

    for (i = 0; i < len; i++) {
        reader_feed(&r, text + i, 1);
    }

    good &= strcmp(r.log, want) == 0;

    for (i = 0; i <= len; i++) {

        for (k = i; k <= len; k += 1 + len / 64) {
            reader_init(&r);
            reader_feed(&r, text, i);
            reader_feed(&r, text + i, k - i);
            reader_feed(&r, text + k, len - k);
            good &= strcmp(r.log, want) == 0 && r.cut == 0;
        }
    }

    return good;
}


static void
test_rows(void)
{
    int       how;
    char     *text;
    size_t    i;
    reader_t  r;

    static const char *const  ends[] = { "LF", "CR", "CRLF", "mixed" };

    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {

        for (how = 0; how < 4; how++) {
            text = lines(rows[i].text, how);

            reader_init(&r);
            reader_feed(&r, text, strlen(text));

            is_str(r.log, rows[i].want, "%s, %s", rows[i].what, ends[how]);
            ok(splits(text, rows[i].want), "%s, %s: in pieces", rows[i].what,
               ends[how]);

            free(text);
        }
    }
}


/* LF CR is two ends of lines, CR LF is one */

static void
test_ends(void)
{
    reader_t  r;

    static const row_t  ends[] = {
        { "data: a\n\rdata: b\n\r", "=a;=b;", "LF CR" },
        { "data: a\r\r\ndata: b\r\n\r", "=a;=b;", "CR CRLF, CRLF CR" },
        { "data: a\r\ndata: b\r\n\r\n", "=a$b;", "CRLF is one" },
        { "data: a\r\n\ndata: b\n\r\n", "=a;=b;", "CRLF LF, LF CRLF" },
        { "\r\ndata: a\r\n\r\n", "=a;", "CRLF first" },
        { "\ndata: a\n\n", "=a;", "LF first" }
    };

    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        reader_init(&r);
        reader_feed(&r, ends[i].text, strlen(ends[i].text));

        is_str(r.log, ends[i].want, "%s", ends[i].what);
        ok(splits(ends[i].text, ends[i].want), "%s: in pieces", ends[i].what);
    }
}


/* an event ends with its blank line, whose LF may come later */

static void
test_position(void)
{
    llm_sse_t             s;
    llm_event_t           e;
    unsigned char         buf[16];
    const unsigned char  *pos, *text, *last;

    text = (const unsigned char *) "data: a\r\n\r\ndata: b\n\n: x";
    last = text + 23;
    pos = text;

    llm_sse_init(&s, buf, sizeof(buf));

    is_int(llm_sse_next(&s, &pos, last, &e), 1, "the first event");
    is_int(pos - text, 11, "and where it ends");
    ok(e.data.data == text + 6, "it is shown in place");
    is_int(llm_sse_next(&s, &pos, last, &e), 1, "the second event");
    is_int(pos - text, 20, "and where it ends");
    is_int(llm_sse_next(&s, &pos, last, &e), 0, "no third one");
    ok(pos == last, "all is read");
    is_int(llm_sse_next(&s, &pos, last, &e), 0, "nothing to read");

    text = (const unsigned char *) "data: a\r\n\r";
    pos = text;

    llm_sse_init(&s, buf, sizeof(buf));
    is_int(llm_sse_next(&s, &pos, text + 10, &e), 1, "ended by a CR");
    is_int(pos - text, 10, "that is the last byte");

    text = (const unsigned char *) "\ndata: b\n\n";
    pos = text;

    is_int(llm_sse_next(&s, &pos, text + 10, &e), 1, "its LF is of no weight");
    ok(e.data.len == 1 && e.data.data[0] == 'b', "the next event");
}


typedef struct {
    const char  *text;
    int          between;
} between_row_t;


static const between_row_t  betweens[] = {
    { "", 1 },
    { "d", 0 },
    { "data: a", 0 },
    { "data: a\n", 0 },
    { "data: a\r", 0 },
    { "data: a\n\n", 1 },
    { "data: a\r\n\r", 1 },
    { "data: a\r\n\r\n", 1 },
    { "data: a\n\n:", 0 },
    { "data: a\n\n: x", 0 },
    { "data: a\n\n: x\n", 1 },
    { "data: a\n: x\n", 0 },
    { "data: a\n: x\n\n", 1 },
    { "data: a\n\ndata", 0 },
    { "event: x\n", 0 },
    { "event: x\n\n", 1 },
    { "id: 1\n", 0 },
    { "junk\n", 0 },
    { "junk\n\n", 1 },
    { "\xef", 0 },
    { "\xef\xbb", 0 },
    { "\xef\xbb\xbf", 1 },
    { "\xef\xbb\n", 0 },
    { "\xef\xbb\n\n", 1 },
    { "\n", 1 }
};


static void
test_between(void)
{
    int       good;
    size_t    i, k, len;
    reader_t  r;

    for (i = 0; i < sizeof(betweens) / sizeof(betweens[0]); i++) {
        good = 1;
        len = strlen(betweens[i].text);

        for (k = 0; k <= len; k++) {
            reader_init(&r);
            reader_feed(&r, betweens[i].text, k);
            reader_feed(&r, betweens[i].text + k, len - k);
            good &= llm_sse_between(&r.sse) == betweens[i].between;
        }

        ok(good, "between events, row %d", (int) i);
    }
}


/* what doesn't fit the buffer is shown as far as it does, if it is split */

static void
test_cut(void)
{
    char      text[1024], want[1024];
    size_t    i, k, len, head;
    reader_t  r;

    for (i = 254; i < 260; i++) {
        memcpy(text, "data: ", 6);
        memset(text + 6, 'x', i);
        memcpy(text + 6 + i, "\n\ndata: b\n\n", 12);
        len = strlen(text);

        reader_init(&r);
        reader_feed(&r, text, len);

        is_int(r.len, i + 5, "%d bytes in place", (int) i);
        is_int(r.cut, 0, "%d bytes in place are not cut", (int) i);

        head = (i < sizeof(r.buf)) ? i : sizeof(r.buf);
        memcpy(want, "=", 1);
        memset(want + 1, 'x', head);
        memcpy(want + 1 + head, ";=b;", 5);

        reader_init(&r);

        for (k = 0; k < len; k++) {
            reader_feed(&r, text + k, 1);
        }

        is_str(r.log, want, "%d bytes gathered", (int) i);
        is_int(r.cut, i > sizeof(r.buf), "%d bytes gathered, cut", (int) i);

        /* two lines: an LF goes between */

        text[6 + i / 2] = '\n';
        memcpy(text + 7 + i / 2, "data:", 5);

        reader_init(&r);
        reader_feed(&r, text, len);

        is_int(r.len, i - 5 + 5, "%d bytes in two lines", (int) i);
        is_int(r.cut, i - 5 > sizeof(r.buf), "%d bytes in two lines, cut",
               (int) i);
    }

    reader_init(&r);
    llm_sse_init(&r.sse, NULL, 0);
    reader_feed(&r, "data: a\n\ndata: b", 16);
    reader_feed(&r, "b\n\ndata\n\n", 9);

    is_str(r.log, "=a;=;=;", "no buffer at all");
    is_int(r.cut, 1, "no buffer at all, cut");
}


/* what does not fit goes elsewhere, whole, whatever the pieces */

typedef struct {
    char    text[256];
    size_t  len;
    int     events;
} over_t;


static void
over(void *ctx, const unsigned char *data, size_t len, int first)
{
    over_t  *o = ctx;

    if (first) {
        o->len = 0;
        o->events++;
    }

    memcpy(o->text + o->len, data, len);
    o->len += len;
}


static void
test_over(void)
{
    int                   good, cut, events;
    over_t                o;
    size_t                i, k, len;
    llm_sse_t             s;
    llm_event_t           e;
    unsigned char         room[8];
    const unsigned char  *pos, *piece;

    static const char  text[] = "data: 1234\n\n: c\n\nevent: x\ndata: 12345\n"
                                "data: 67890\n\ndata: abcdefghi\n\ndata: z\n\n";

    len = sizeof(text) - 1;
    good = 1;

    for (i = 0; i <= len; i++) {
        for (k = i; k <= len; k++) {

            memset(&o, 0, sizeof(over_t));
            llm_sse_init(&s, room, sizeof(room));
            s.over = over;
            s.ctx = &o;

            cut = events = 0;
            piece = (const unsigned char *) text;

            for (int n = 0; n < 3; n++) {
                pos = piece;
                piece = (const unsigned char *) text
                        + (n == 0 ? i : n == 1 ? k : len);

                while (llm_sse_next(&s, &pos, piece, &e)) {

                    events++;
                    cut += e.cut;

                    /* the first field, not the comment before it */

                    good &= e.start == (events == 1 ? 0 : events == 2 ? 17
                                        : events == 3 ? 51 : 68);

                    if (e.cut) {
                        good &= o.events == cut;
                        good &= strncmp(o.text, events == 2 ? "12345\n67890"
                                                            : "abcdefghi",
                                        o.len) == 0;
                        good &= o.len == (events == 2 ? 11 : 9);
                    }
                }
            }

            good &= events == 4 && cut >= 1 && s.offset == len;
        }
    }

    ok(good, "what does not fit is shown, and where events begin");
}


static void
test_begun(void)
{
    llm_sse_t             s;
    uint64_t              start;
    llm_event_t           e;
    unsigned char         room[8];
    const unsigned char  *pos;

    static const unsigned char  text[] = ": c\n\ndata: 1\n\nid";

    llm_sse_init(&s, room, sizeof(room));

    pos = text;
    (void) llm_sse_next(&s, &pos, text + 4, &e);
    is_int(llm_sse_begun(&s, &start), 0, "a comment begins no event");

    (void) llm_sse_next(&s, &pos, text + 6, &e);
    is_int(llm_sse_begun(&s, &start), 1, "a field does");
    is_int((long long) start, 5, "there");

    is_int(llm_sse_next(&s, &pos, text + 14, &e), 1, "an event");
    is_int((long long) e.start, 5, "that began there");
    is_int(llm_sse_begun(&s, &start), 0, "nothing is begun");

    (void) llm_sse_next(&s, &pos, text + 16, &e);
    is_int(llm_sse_begun(&s, &start), 1, "the next one is");
    is_int((long long) start, 14, "behind it");
}


int
main(void)
{
    test_rows();
    test_ends();
    test_position();
    test_between();
    test_cut();
    test_over();
    test_begun();

    return done_testing();
}
