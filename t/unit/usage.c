
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "llm/usage.h"
#include "tap.h"

#include <stdlib.h>


#define OPENAI     &llm_dialect_openai
#define ANTHROPIC  &llm_dialect_anthropic


typedef struct {
    const llm_dialect_t  *dialect;
    const char           *text;
    long long             input;
    long long             output;
} usage_row_t;


static const usage_row_t  rows[] = {
    { OPENAI, "{\"usage\":{\"prompt_tokens\":19,\"completion_tokens\":10,"
      "\"total_tokens\":29}}", 19, 10 },
    { OPENAI, "{\"id\":\"x\",\"usage\" : { \"total_tokens\" : 29 ,"
      "\"completion_tokens\" : 10 , \"prompt_tokens\" : 19 } }", 19, 10 },
    { OPENAI, "{\"usage\":{\"prompt_tokens\":8,\"total_tokens\":8}}", 8, -1 },
    { OPENAI, "{\"type\":\"response.completed\",\"response\":{\"output\":[],"
      "\"usage\":{\"input_tokens\":36,\"input_tokens_details\":"
      "{\"cached_tokens\":30},\"output_tokens\":87}}}", 36, 87 },
    { OPENAI, "{\"usage\":{\"input_tokens\":36,\"output_tokens\":0}}", 36, 0 },
    { OPENAI, "{\"x_groq\":{\"id\":1,\"usage\":{\"prompt_tokens\":1,"
      "\"completion_tokens\":2}}}", 1, 2 },
    { OPENAI, "{\"usage\":null}", -1, -1 },
    { OPENAI, "{\"usage\":3}", -1, -1 },
    { OPENAI, "{\"usage\":{\"type\":\"duration\",\"seconds\":3}}", -1, -1 },
    { OPENAI, "{\"usage\":{\"prompt_tokens\":-1,"
      "\"completion_tokens\":1.5}}", -1, -1 },
    { OPENAI, "{\"usage\":{\"prompt_tokens\":\"9\","
      "\"completion_tokens\":null}}", -1, -1 },
    { OPENAI, "{\"usage\":{\"prompt_tokens\":999999999999999,"
      "\"completion_tokens\":1000000000000000}}", 999999999999999, -1 },
    { OPENAI, "{\"choices\":[{\"usage\":{\"prompt_tokens\":1}}]}", -1, -1 },
    { OPENAI, "{\"x\":{\"usage\":{\"prompt_tokens\":1}}}", -1, -1 },
    { OPENAI, "{\"message\":{\"usage\":{\"input_tokens\":1}}}", -1, -1 },
    { OPENAI, "{\"x\":\"\\\"usage\\\":{\\\"prompt_tokens\\\":1}\"}", -1, -1 },
    { OPENAI, "{}", -1, -1 },
    { OPENAI, "[{\"usage\":{\"prompt_tokens\":1}}]", -1, -1 },
    { OPENAI, "[DONE]", -1, -1 },
    { OPENAI, "usage", -1, -1 },
    { OPENAI, "", -1, -1 },

    { ANTHROPIC, "{\"type\":\"message\",\"usage\":{\"input_tokens\":10,"
      "\"cache_creation_input_tokens\":20,\"cache_read_input_tokens\":30,"
      "\"output_tokens\":5}}", 60, 5 },
    { ANTHROPIC, "{\"type\":\"message_start\",\"message\":{\"content\":[],"
      "\"usage\":{\"input_tokens\":377,\"cache_creation_input_tokens\":0,"
      "\"cache_read_input_tokens\":null,\"output_tokens\":1}}}", 377, 1 },
    { ANTHROPIC, "{\"type\":\"x\",\"usage\":{\"output_tokens\":65}}",
      -1, 65 },
    { ANTHROPIC, "{\"usage\":{\"cache_read_input_tokens\":3}}", -1, -1 },
    { ANTHROPIC, "{\"response\":{\"usage\":{\"input_tokens\":3}}}", -1, -1 },

    { &llm_dialect_none, "{\"usage\":{\"input_tokens\":3}}", -1, -1 }
};


static llm_str_t
str(const char *text)
{
    llm_str_t  s;

    s.len = strlen(text);
    s.data = (const unsigned char *) text;

    return s;
}


/* the same, however the text comes */

static int
in_pieces(const usage_row_t *row)
{
    int                good;
    size_t             len, most, i, n;
    llm_usage_t        u;
    llm_usage_scan_t  *s;

    s = malloc(sizeof(llm_usage_scan_t));

    if (s == NULL) {
        abort();
    }

    len = strlen(row->text);
    good = 1;

    for (most = 1; most <= len + 1; most++) {
        llm_usage_init(&u);
        llm_usage_scan_init(s, row->dialect);

        for (i = 0; i < len; i += n) {
            n = (len - i < most) ? len - i : most;
            llm_usage_scan(s, (const unsigned char *) row->text + i, n, &u);
        }

        good &= u.input == row->input && u.output == row->output;
    }

    free(s);

    return good;
}


static void
test_read(void)
{
    size_t              i;
    llm_usage_t         u;
    const usage_row_t  *row;

    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        row = &rows[i];

        llm_usage_init(&u);
        llm_usage_read(row->dialect, str(row->text), &u);

        is_int(u.input, row->input, "input: %s", row->text);
        is_int(u.output, row->output, "output: %s", row->text);
        ok(in_pieces(row), "in pieces: %s", row->text);
    }
}


/* a stream tells again and again */

static void
test_again(void)
{
    llm_usage_t  u;

    llm_usage_init(&u);

    llm_usage_read(ANTHROPIC, str("{\"message\":{\"usage\":{\"input_tokens\":1,"
        "\"cache_read_input_tokens\":9,\"output_tokens\":1}}}"), &u);
    llm_usage_read(ANTHROPIC, str("{\"usage\":{\"output_tokens\":30}}"), &u);

    is_int(u.input, 10, "what is not told again stays");
    is_int(u.output, 30, "a total so far");

    llm_usage_read(ANTHROPIC, str("{\"usage\":{\"input_tokens\":1,"
        "\"output_tokens\":40}}"), &u);

    is_int(u.input, 10, "told again without the cache");
    is_int(u.output, 40, "a total, not a sum");
}


/* long values, and a missing piece */

static void
test_scan(void)
{
    char               *text, *p;
    size_t              i, size;
    llm_usage_t         u;
    llm_usage_scan_t    s;

    static const char  head[] = "{\"usage\":{\"prompt_tokens\":7,\"x\":\"";

    for (i = 0; i < 2; i++) {

        /* as long as is read, and a byte more */

        size = LLM_USAGE_TEXT - (sizeof(head) - 1 - 9) - 2 + i;

        text = malloc(size + 128);

        if (text == NULL) {
            abort();
        }

        p = text + sprintf(text, "%s", head);
        memset(p, 'y', size);
        p += size;
        p += sprintf(p, "\"},\"usage\":{\"completion_tokens\":3}}");

        llm_usage_init(&u);
        llm_usage_scan_init(&s, OPENAI);
        llm_usage_scan(&s, (unsigned char *) text, p - text, &u);

        is_int(u.input, i ? -1 : 7, "a long value, %d", (int) i);
        is_int(u.output, i ? 3 : -1, "the one behind it, %d", (int) i);

        free(text);
    }

    llm_usage_init(&u);
    llm_usage_scan_init(&s, OPENAI);
    llm_usage_scan(&s, (unsigned char *) "{\"x\":1,", 7, &u);
    llm_usage_scan_stop(&s);
    llm_usage_scan(&s, (unsigned char *) "\"usage\":{\"prompt_tokens\":1}}", 29,
                   &u);
    is_int(u.input, -1, "nothing is read behind what is missing");
}


typedef struct {
    const char  *path;
    const char  *options;
    const char  *want;           /* NULL: left as it is */
} ask_row_t;


#define CHAT  "/v1/chat/completions"
#define ASKS  "{\"include_usage\":true}"

static const ask_row_t  asks[] = {
    { CHAT, "", ASKS },
    { CHAT, "null", ASKS },
    { CHAT, "{}", ASKS },
    { CHAT, "{ \"include_usage\" : false }", ASKS },
    { CHAT, "{\"include_usage\":null}", ASKS },
    { CHAT, "{\"include_us\\u0061ge\":null}", ASKS },
    { CHAT, "{\"include_usage\":true,\"include_usage\":false}", ASKS },
    { CHAT, "{\"a\":1 , \"include_usage\":false,\"b\":{\"include_usage\":1}}",
      "{\"include_usage\":true,\"a\":1,\"b\":{\"include_usage\":1}}" },
    { CHAT, ASKS, NULL },
    { CHAT, "{\"include_usage\":false,\"include_usage\":true}", NULL },
    { CHAT, "{\"include_usage\":\"x\"}", NULL },
    { CHAT, "true", NULL },
    { CHAT, "[]", NULL },
    { CHAT, "\"x\"", NULL },
    { "/completions", "", ASKS },
    { "/openai/deployments/x/chat/completions", "", ASKS },
    { "/v1/responses", "", NULL },
    { "/v1/xcompletions", "", NULL },
    { "/v1/completions/", "", NULL },
    { "completions", "", NULL },
    { "", "", NULL }
};


static void
test_ask(void)
{
    size_t            i, len;
    unsigned char     buf[256];
    const ask_row_t  *row;

    for (i = 0; i < sizeof(asks) / sizeof(asks[0]); i++) {
        row = &asks[i];

        len = llm_dialect_openai.ask_usage(NULL, str(row->path),
                                           str(row->options));

        is_int(len, row->want ? strlen(row->want) : 0, "ask: %s %s: length",
               row->path, row->options);

        if (row->want == NULL) {
            continue;
        }

        is_int(llm_dialect_openai.ask_usage(buf, str(row->path),
                                            str(row->options)),
               len, "ask: %s %s: written", row->path, row->options);
        ok(memcmp(buf, row->want, len) == 0, "ask: %s %s", row->path,
           row->options);
    }

    ok(llm_dialect_anthropic.ask_usage == NULL, "anthropic always tells");
}


int
main(void)
{
    test_read();
    test_again();
    test_scan();
    test_ask();

    return done_testing();
}
