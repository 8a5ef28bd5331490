
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "llm/digest.h"
#include "llm/json.h"
#include "tap.h"

#include <stdlib.h>


#define X16  "xxxxxxxxxxxxxxxx"
#define X64  X16 X16 X16 X16


typedef struct {
    const char  *text;
    const char  *want;
} row_t;


static const row_t  rows[] = {
    { "", "" },
    { "{}", "{}" },
    { " { \"a\" : [ 1 , true ,\t\"b c\" ] } ", "{\"a\":[1,true,\"b c\"]}" },
    { "[[[[[[]]]]]]", "[[[[[[]]]]]]" },
    { "[[[[[[1,\"a\",[2]]]]]]]", "[[[[[[1,\"a\",[]]]]]]]" },
    { "[[[[[[{\"a\":[{}]},3]]]]]]", "[[[[[[{},3]]]]]]" },
    { "[[[[[[[\"]\\\"]\"]]]]]],4]", "[[[[[[[]]]]]],4]" },
    { "\"" X64 "\"", "\"" X64 "\"" },
    { "[\"" X64 "xyz\",\"b\"]", "[\"" X64 "\",\"b\"]" },
    { "\"" X64 "\\\"\"", "\"" X64 "\"" },
    { "\"" X64 "\\u0041\\\\\"", "\"" X64 "\"" },
    { "\"" X16 X16 X16 "xxxxxxxxxxxxxxx\\\"y\"",
      "\"" X16 X16 X16 "xxxxxxxxxxxxxxx\\\"\"" },
    { "\"" X16 X16 X16 "xxxxxxxxxxxxx\\u00e9y\"",
      "\"" X16 X16 X16 "xxxxxxxxxxxxx\\u00e9\"" },
    { "\"" X16 X16 X16 "xxxxxxxxxx\\ud83d\\ude00y\"",
      "\"" X16 X16 X16 "xxxxxxxxxx\\ud83d\\ude00\"" },
    { "\"" X16 X16 X16 "xxxxxxxxxxxxxxx\xc3\xa9y\"",
      "\"" X16 X16 X16 "xxxxxxxxxxxxxxx\xc3\xa9\"" },
    { "\"" X16 X16 X16 "xxxxxxxxxxxxx\xf0\x9f\x98\x80y\"",
      "\"" X16 X16 X16 "xxxxxxxxxxxxx\xf0\x9f\x98\x80\"" },
    { "]]}1", "]]}1" }
};


int
main(void)
{
    int            good;
    char           out[512];
    size_t         i, k, n, len;
    llm_str_t      json;
    llm_digest_t   d;
    unsigned char  place[512];

    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {

        len = strlen(rows[i].text);
        good = 1;

        for (k = 0; k <= len; k++) {
            memset(&d, 0, sizeof(llm_digest_t));

            n = llm_digest(&d, (const unsigned char *) rows[i].text, k,
                           (unsigned char *) out, sizeof(out));
            n += llm_digest(&d, (const unsigned char *) rows[i].text + k,
                            len - k, (unsigned char *) out + n,
                            sizeof(out) - n);
            out[n] = '\0';

            good &= strcmp(out, rows[i].want) == 0 && !d.full;
        }

        is_str(out, rows[i].want, "digest of %s", rows[i].text);
        ok(good, "and in pieces");

        memset(&d, 0, sizeof(llm_digest_t));
        memcpy(place, rows[i].text, len);
        n = llm_digest(&d, place, len, place, len);
        place[n] = '\0';
        is_str((char *) place, rows[i].want, "and in its place");

        json.data = (const unsigned char *) rows[i].text;
        json.len = len;

        if (llm_json_valid(json)) {
            json.data = place;
            json.len = n;
            ok(llm_json_valid(json), "and it stays well-formed");
        }
    }

    memset(&d, 0, sizeof(llm_digest_t));
    n = llm_digest(&d, (const unsigned char *) "[1,2]", 5, place, 3);
    is_int(n, 3, "no more than there is room for");
    is_int(d.full, 1, "which is told");
    is_int(llm_digest(&d, (const unsigned char *) "3", 1, place, 3), 0,
           "and nothing behind a gap");

    return done_testing();
}
