
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "llm/bound.h"
#include "tap.h"

#include <stdlib.h>
#include <time.h>


static const llm_bound_member_t  members[] = {
    { "previous_response_id", "" },
    { "prev", "x" },
    { "id", "conv_" },
    { "type", "thinking" },
    { "type", "item_reference" },
    { NULL, NULL }
};


static const struct {
    const char  *text;
    int          bound;
} cases[] = {
    { "", 0 },
    { "{}", 0 },
    { "{\"previous_response_id\":\"r\"}", 1 },
    { "{\"previous_response_id\" :\r\n\t \"r\"}", 1 },
    { "{\"a\":1,\"previous_response_id\":\"r\",\"b\":2}", 1 },
    { "{\"previous_response_id\":\"\"}", 0 },
    { "{\"previous_response_id\":\"\",\"id\":\"conv_1\"}", 1 },
    { "{\"previous_response_id\":null}", 0 },
    { "{\"previous_response_id\":null,\"prev\":\"x\"}", 1 },
    { "{\"previous_response_id\":{\"type\":\"string\"}}", 0 },
    { "{\"previous_response_ids\":\"r\"}", 0 },
    { "{\"revious_response_id\":\"r\"}", 0 },
    { "{\"prev\":\"y\",\"prev\":\"x\"}", 1 },
    { "{\"prev\":\"y\"}", 0 },
    { "{\"conversation\":{\"id\":\"conv_1\"}}", 1 },
    { "{\"id\":\"conv\"}", 0 },
    { "{\"id\":\"con\",\"id\":\"conv_\"}", 1 },
    { "{\"id\":\"call_1\"}", 0 },
    { "[[[{\"type\":\"thinking\",\"signature\":\"s\"}]]]", 1 },
    { "{\"type\":\"item_reference\"}", 1 },
    { "{\"thinking\":{\"type\":\"enabled\"}}", 0 },
    { "{\"content\":\"type\",\"x\":\"thinking\"}", 0 },
    { "{\"content\":\"\\\"type\\\":\\\"thinking\\\"\"}", 0 },
    { "{\"content\":\"\\\"previous_response_id\\\":\\\"r\\\"\"}", 0 },
    { "{\"content\":\"a \\\"id\",\"x\":\"conv_1\"}", 0 },
    { "{\"\":\"\",\"type\":\"thinking\"}", 1 },
    { "{\"type\"\"type\":\"thinking\"}", 1 },
    { "\"type", 0 },
    { "\"type\":", 0 },
    { "\"type\":\"thinkin", 0 },
};


static int
scan(const char *text, size_t piece)
{
    size_t                n, len;
    llm_bound_t           b;
    const unsigned char  *p;

    memset(&b, 0, sizeof(llm_bound_t));
    b.members = members;

    p = (const unsigned char *) text;
    len = strlen(text);

    for ( /* void */ ; len; len -= n, p += n) {
        n = len < piece ? len : piece;

        if (llm_bound_scan(&b, p, n)) {
            return 1;
        }
    }

    return 0;
}


static void
test_cases(void)
{
    size_t  i, piece, len;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        len = strlen(cases[i].text);

        for (piece = 1; piece < len; piece++) {
            if (scan(cases[i].text, piece) != cases[i].bound) {
                break;
            }
        }

        ok(scan(cases[i].text, len + 1) == cases[i].bound && piece >= len,
           "text %zu", i);
    }
}


/* a name at any place of two pieces */

static void
test_split(void)
{
    size_t                i, wrong;
    llm_bound_t           b;
    static const char     text[] = "{\"a\":[{\"type\":\"thinking\"}]}";
    const unsigned char  *p;

    wrong = 0;
    p = (const unsigned char *) text;

    for (i = 0; i < sizeof(text); i++) {
        memset(&b, 0, sizeof(llm_bound_t));
        b.members = members;

        (void) llm_bound_scan(&b, p, i);

        wrong += !llm_bound_scan(&b, p + i, sizeof(text) - 1 - i);
    }

    is_int(wrong, 0, "split anywhere");
}


static double
seconds(const char *pattern, size_t size)
{
    size_t       i, len;
    char        *text;
    double       took, best;
    clock_t      start;
    llm_bound_t  b;

    text = malloc(size);
    len = strlen(pattern);

    for (i = 0; i < size; i++) {
        text[i] = pattern[i % len];
    }

    best = 0;

    for (i = 0; i < 3; i++) {
        memset(&b, 0, sizeof(llm_bound_t));
        b.members = members;

        start = clock();
        (void) llm_bound_scan(&b, (unsigned char *) text, size);
        took = (double) (clock() - start) / CLOCKS_PER_SEC;

        if (i == 0 || took < best) {
            best = took;
        }
    }

    free(text);

    return best;
}


/* hostile texts take a time that grows with their length, and not faster */

static void
test_time(void)
{
    double              small, big;
    unsigned            i;
    static const char  *patterns[] = {
        "\"", "\"type\"", "\"type\":\"thinkin\"", "\"previous_response_i",
        "\\\"", "\"id\":", "\"type\": \t\n"
    };

    for (i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
        small = seconds(patterns[i], 1000000);
        big = seconds(patterns[i], 10000000);

        ok(big < 15 * small + 0.02, "10 MB of %s", patterns[i]);
    }
}


static void
test_path(void)
{
    unsigned                  i;
    llm_str_t                 path;
    static const char *const  words[] = {
        "files", "batches", "responses/", NULL
    };

    static const struct {
        const char  *path;
        int          bound;
    } paths[] = {
        { "", 0 },
        { "/", 0 },
        { "/v1/chat/completions", 0 },
        { "/v1/files", 1 },
        { "/v1/files/", 1 },
        { "/v1/files/file-1/content", 1 },
        { "/v1/messages/batches/b", 1 },
        { "batches", 1 },
        { "/v1/filesystem", 0 },
        { "/v1/my-files", 0 },
        { "/v1/responses", 0 },
        { "/v1/responses/", 0 },
        { "/v1/responses/r", 1 },
        { "/v1/responses/r/cancel", 1 },
    };

    for (i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        path.data = (const unsigned char *) paths[i].path;
        path.len = strlen(paths[i].path);

        is_int(llm_bound_path(words, path), paths[i].bound, "path \"%s\"",
               paths[i].path);
    }
}


int
main(void)
{
    test_cases();
    test_split();
    test_time();
    test_path();

    return done_testing();
}
