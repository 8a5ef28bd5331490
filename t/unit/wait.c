
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "llm/wait.h"
#include "tap.h"

#include <stdlib.h>


#define INFO    "\"@type\":\"type.googleapis.com/google.rpc.RetryInfo\""
#define FAILURE                                                               \
    "{\"@type\":\"type.googleapis.com/google.rpc.QuotaFailure\","             \
    "\"violations\":[{\"quotaId\":\"x\",\"retryDelay\":\"9s\"}]}"
#define GOOGLE(details)                                                       \
    "{\"error\":{\"code\":429,\"message\":\"Please retry in 3s.\","           \
    "\"status\":\"RESOURCE_EXHAUSTED\",\"details\":" details "}}"
#define DELAY(value)  GOOGLE("[" FAILURE ",{" INFO ",\"retryDelay\":" value "}]")


typedef struct {
    const char  *name;
    const char  *body;
    uint64_t     want;
} wait_t;


static const wait_t  waits[] = {

    { "nothing", "", 0 },
    { "no JSON", "retryDelay: 5s", 0 },
    { "no object", "[]", 0 },
    { "no error", "{\"details\":[{" INFO ",\"retryDelay\":\"5s\"}]}", 0 },
    { "an error that is a string", "{\"error\":\"retry in 5s\"}", 0 },
    { "an error of OpenAI's",
      "{\"error\":{\"message\":\"try again in 20s\",\"code\":\"x\"}}", 0 },

    /* Google */

    { "RetryInfo", DELAY("\"46s\""), 46000 },
    { "white space", " \n" DELAY("\"46s\"") "\n", 46000 },
    { "a fraction", DELAY("\"35617.7s\""), 35617700 },
    { "less than a ms", DELAY("\"0.000000001s\""), 1 },
    { "an escape", DELAY("\"4\\u0036s\""), 46000 },
    { "in an array", "[" DELAY("\"46s\"") "]", 46000 },
    { "in an array of two", "[" DELAY("\"46s\"") "," DELAY("\"5s\"") "]",
      46000 },
    { "its name alone", GOOGLE("[{\"@type\":\"google.rpc.RetryInfo\","
      "\"retryDelay\":\"2s\"}]"), 2000 },
    { "in any order", GOOGLE("[{\"retryDelay\":\"2s\"," INFO "}]"), 2000 },
    { "none", DELAY("\"0s\""), 0 },
    { "negative", DELAY("\"-5s\""), 0 },
    { "empty", DELAY("\"\""), 0 },
    { "null", DELAY("null"), 0 },
    { "an object", DELAY("{\"seconds\":5}"), 0 },
    { "a word", DELAY("\"soon\""), 0 },
    { "a long word", DELAY("\"11111111111111111111111111111111111111111s\""),
      0 },
    { "no delay", GOOGLE("[{" INFO "}]"), 0 },
    { "another type", GOOGLE("[" FAILURE "]"), 0 },
    { "another type with a delay",
      GOOGLE("[{\"@type\":\"x/google.rpc.Other\",\"retryDelay\":\"2s\"}]"), 0 },
    { "no type", GOOGLE("[{\"retryDelay\":\"2s\"}]"), 0 },
    { "details that are no array", GOOGLE("{" INFO ",\"retryDelay\":\"2s\"}"),
      0 },
    { "details of other things", GOOGLE("[1,null,\"x\",[],{}]"), 0 },

    /* OpenRouter */

    { "availability", "{\"error\":{\"code\":429,\"availability\":"
      "{\"retryable\":true,\"retry_after\":12}}}", 12000 },
    { "a fraction of it", "{\"error\":{\"availability\":"
      "{\"retry_after\":0.25}}}", 250 },
    { "as a string", "{\"error\":{\"availability\":"
      "{\"retry_after\":\"3\"}}}", 3000 },
    { "null there", "{\"error\":{\"availability\":"
      "{\"retry_after\":null}}}", 0 },
    { "metadata", "{\"error\":{\"metadata\":{\"retry_after\":7}}}", 7000 },
    { "metadata, where availability says nothing",
      "{\"error\":{\"availability\":{\"retry_after\":null},"
      "\"metadata\":{\"retry_after\":7}}}", 7000 },
    { "negative there", "{\"error\":{\"metadata\":{\"retry_after\":-7}}}", 0 },
    { "an exponent", "{\"error\":{\"metadata\":{\"retry_after\":1e9}}}", 0 },

    /* cut off */

    { "a string that is cut",
      "{\"error\":{\"details\":[{" INFO ",\"retryDelay\":\"46", 0 },
    { "a number that is cut",
      "{\"error\":{\"metadata\":{\"retry_after\":12", 0 },
    { "cut behind it",
      "{\"error\":{\"metadata\":{\"retry_after\":12,\"x", 12000 }
};


static uint64_t
ask(const char *data, size_t len)
{
    uint64_t        ms;
    llm_answer_t    a;
    unsigned char  *p;

    /* a copy that ends where its memory ends */

    p = malloc(len ? len : 1);

    if (p == NULL) {
        abort();
    }

    if (len) {
        memcpy(p, data, len);
    }

    memset(&a, 0, sizeof(a));

    a.status = 429;
    a.body.data = p;
    a.body.len = len;

    ms = llm_wait_error(&a);

    free(p);

    return ms;
}


/* what lies behind the first 16 KB is not looked at */

static void
test_far(size_t filler, uint64_t want)
{
    char   *p;
    size_t  n;

    static const char  begin[] = "{\"error\":{\"message\":\"";
    static const char  end[] = "\",\"metadata\":{\"retry_after\":12}}}";

    p = malloc(filler + sizeof(begin) + sizeof(end));

    if (p == NULL) {
        abort();
    }

    n = sizeof(begin) - 1;
    memcpy(p, begin, n);
    memset(p + n, 'x', filler);
    n += filler;
    memcpy(p + n, end, sizeof(end) - 1);
    n += sizeof(end) - 1;

    is_int((long long) ask(p, n), (long long) want, "behind %zu bytes",
           filler);

    free(p);
}


int
main(void)
{
    size_t        i, n, wrong;
    const char   *body;
    llm_answer_t  a;

    for (i = 0; i < sizeof(waits) / sizeof(waits[0]); i++) {
        is_int((long long) ask(waits[i].body, strlen(waits[i].body)),
               (long long) waits[i].want, "%s", waits[i].name);
    }

    /* a wait that is cut anywhere is the one that was meant, or none */

    wrong = 0;
    body = DELAY("\"46s\"");

    for (n = 0; n < strlen(body); n++) {
        wrong += (ask(body, n) != 0 && ask(body, n) != 46000);
    }

    is_int((long long) wrong, 0, "cut anywhere");

    test_far(16000, 12000);
    test_far(16384, 0);
    test_far(1 << 20, 0);

    /* dialects */

    memset(&a, 0, sizeof(a));
    a.status = 429;
    a.body.data = (const unsigned char *) body;
    a.body.len = strlen(body);

    is_int((long long) llm_dialect_openai.wait(&a), 46000, "openai");
    ok(llm_dialect_none.wait == NULL, "none");

    return done_testing();
}
