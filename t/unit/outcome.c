
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "engine/outcome.h"
#include "tap.h"

#include <stdlib.h>


/* the contract once more: names and sets in the order of the enum */

#define RETRY     0x1
#define FAIL      0x2
#define FALLBACK  0x4
#define UNTOUCHED 0x8


typedef struct {
    const char     *name;
    res_outcome_e   outcome;
    unsigned        sets;
} outcome_t;


static const outcome_t  outcomes[] = {
    { "success",          RES_SUCCESS,          0 },
    { "connect",          RES_CONNECT,          RETRY|FAIL|FALLBACK },
    { "timeout",          RES_TIMEOUT,          FAIL|FALLBACK },
    { "rate_limited",     RES_RATE_LIMITED,     RETRY|FALLBACK|UNTOUCHED },
    { "quota",            RES_QUOTA,            FALLBACK|UNTOUCHED },
    { "auth",             RES_AUTH,             FALLBACK|UNTOUCHED },
    { "overloaded",       RES_OVERLOADED,
      RETRY|FAIL|FALLBACK|UNTOUCHED },
    { "server_error",     RES_SERVER_ERROR,     RETRY|FAIL|FALLBACK },
    { "stream_dropped",   RES_STREAM_DROPPED,   FAIL|FALLBACK },
    { "invalid_response", RES_INVALID_RESPONSE, FAIL|FALLBACK },
    { "not_found",        RES_NOT_FOUND,        FALLBACK|UNTOUCHED },
    { "context_length",   RES_CONTEXT_LENGTH,   0 },
    { "content_policy",   RES_CONTENT_POLICY,   0 },
    { "client_error",     RES_CLIENT_ERROR,     0 },
    { "client_abort",     RES_CLIENT_ABORT,     0 },
    { "cancelled",        RES_CANCELLED,        FALLBACK },
    { "breaker_open",     RES_BREAKER_OPEN,     FALLBACK|UNTOUCHED },
    { "no_permit",        RES_NO_PERMIT,        FALLBACK|UNTOUCHED },
    { "no_key",           RES_NO_KEY,           FALLBACK|UNTOUCHED },
    { "limited",          RES_LIMITED,          FALLBACK|UNTOUCHED },
    { "shutdown",         RES_SHUTDOWN,         0 },
    { "stale",            RES_STALE,            0 }
};

#define OUTCOMES  (sizeof(outcomes) / sizeof(outcomes[0]))


/* statuses that differ from their hundred */

typedef struct {
    unsigned        status;
    res_outcome_e   own;
    res_outcome_e   foreign;
} status_t;


static const status_t  statuses[] = {
    { 401, RES_AUTH,         RES_CLIENT_ERROR },
    { 402, RES_QUOTA,        RES_QUOTA },
    { 403, RES_AUTH,         RES_CLIENT_ERROR },
    { 429, RES_RATE_LIMITED, RES_RATE_LIMITED },
    { 503, RES_OVERLOADED,   RES_OVERLOADED },
    { 529, RES_OVERLOADED,   RES_OVERLOADED }
};


typedef struct {
    const char     *name;
    size_t          len;
} wrong_t;


static const wrong_t  wrong[] = {
    { "", 0 },
    { "s", 1 },
    { "succes", 6 },
    { "success ", 8 },
    { "success\0", 8 },
    { "Success", 7 },
    { "SUCCESS", 7 },
    { "server-error", 12 },
    { "server_errors", 13 },
    { "no_ke\0", 6 },
    { "unknown", 7 }
};


static void
test_names(void)
{
    int     i;
    char   *name;
    size_t  len;

    is_int(RES_OUTCOMES, OUTCOMES, "number of outcomes");

    for (i = 0; i < (int) OUTCOMES; i++) {
        is_int(outcomes[i].outcome, i, "place of %s", outcomes[i].name);

        is_str(res_outcome_name(outcomes[i].outcome), outcomes[i].name,
               "name of %s", outcomes[i].name);

        /* no byte after the name may be looked at */

        len = strlen(outcomes[i].name);
        name = malloc(len);

        memcpy(name, outcomes[i].name, len);

        is_int(res_outcome_parse(name, len), i, "parse %s", outcomes[i].name);
        is_int(res_outcome_parse(name, len - 1), -1, "parse %s but its end",
               outcomes[i].name);

        free(name);
    }

    is_str(res_outcome_name(RES_OUTCOMES), "unknown", "name past the last");
    is_str(res_outcome_name((res_outcome_e) 1000), "unknown", "name of 1000");
    is_str(res_outcome_name((res_outcome_e) -1), "unknown", "name of -1");

    for (i = 0; i < (int) (sizeof(wrong) / sizeof(wrong[0])); i++) {
        is_int(res_outcome_parse(wrong[i].name, wrong[i].len), -1,
               "parse wrong name %d", i);
    }
}


static void
test_sets(void)
{
    int       i;
    unsigned  sets;

    for (i = 0; i < (int) OUTCOMES; i++) {
        sets = 0;

        sets |= (RES_RETRY_ON & res_bit(i)) ? RETRY : 0;
        sets |= (RES_FAIL_ON & res_bit(i)) ? FAIL : 0;
        sets |= (RES_FALLBACK_ON & res_bit(i)) ? FALLBACK : 0;
        sets |= (RES_UNPROCESSED & res_bit(i)) ? UNTOUCHED : 0;

        is_int(sets, outcomes[i].sets, "sets of %s", outcomes[i].name);
    }

    /* an old answer is no way around a refusal */

    is_int(RES_STALE_AFTER & (res_bit(RES_AUTH) | res_bit(RES_QUOTA)
                              | res_bit(RES_CONTENT_POLICY)
                              | res_bit(RES_CONTEXT_LENGTH)
                              | res_bit(RES_CLIENT_ERROR)
                              | res_bit(RES_NOT_FOUND)
                              | res_bit(RES_CLIENT_ABORT)
                              | res_bit(RES_SHUTDOWN)), 0,
           "no stale answer after a refusal");

    is_int((RES_RETRY_ON | RES_FAIL_ON | RES_FALLBACK_ON | RES_UNPROCESSED)
           >> RES_OUTCOMES, 0, "no bit past the last outcome");
}


static res_outcome_e
expected(unsigned status, int own)
{
    size_t  i;

    for (i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        if (statuses[i].status == status) {
            return own ? statuses[i].own : statuses[i].foreign;
        }
    }

    switch (status / 100) {

    case 1:
    case 2:
    case 3:
        return RES_SUCCESS;

    case 4:
        return RES_CLIENT_ERROR;

    default:
        return RES_SERVER_ERROR;
    }
}


static void
test_statuses(void)
{
    int       own;
    unsigned  status;

    for (status = 100; status <= 599; status++) {
        for (own = 0; own <= 1; own++) {
            is_str(res_outcome_name(res_outcome_status(status, own)),
                   res_outcome_name(expected(status, own)),
                   "status %u, own_key %d", status, own);
        }
    }

    /* any key of ours is one, not only a 1 */

    is_int(res_outcome_status(401, 2), RES_AUTH, "status 401, own_key 2");
}


static void
test_grpc(void)
{
    unsigned  i;

    static const struct {
        unsigned       code;
        res_outcome_e  own;
        res_outcome_e  foreign;
    } codes[] = {
        { 0,   RES_SUCCESS,      RES_SUCCESS },
        { 1,   RES_CLIENT_ERROR, RES_CLIENT_ERROR },
        { 2,   RES_SERVER_ERROR, RES_SERVER_ERROR },
        { 3,   RES_CLIENT_ERROR, RES_CLIENT_ERROR },
        { 4,   RES_TIMEOUT,      RES_TIMEOUT },
        { 5,   RES_CLIENT_ERROR, RES_CLIENT_ERROR },
        { 6,   RES_CLIENT_ERROR, RES_CLIENT_ERROR },
        { 7,   RES_AUTH,         RES_CLIENT_ERROR },
        { 8,   RES_RATE_LIMITED, RES_RATE_LIMITED },
        { 9,   RES_CLIENT_ERROR, RES_CLIENT_ERROR },
        { 10,  RES_CLIENT_ERROR, RES_CLIENT_ERROR },
        { 11,  RES_CLIENT_ERROR, RES_CLIENT_ERROR },
        { 12,  RES_CLIENT_ERROR, RES_CLIENT_ERROR },
        { 13,  RES_SERVER_ERROR, RES_SERVER_ERROR },
        { 14,  RES_OVERLOADED,   RES_OVERLOADED },
        { 15,  RES_SERVER_ERROR, RES_SERVER_ERROR },
        { 16,  RES_AUTH,         RES_CLIENT_ERROR },
        { 17,  RES_SERVER_ERROR, RES_SERVER_ERROR },
        { ~0u, RES_SERVER_ERROR, RES_SERVER_ERROR }
    };

    for (i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        is_int(res_outcome_grpc(codes[i].code, 1), codes[i].own,
               "gRPC %u, own key", codes[i].code);
        is_int(res_outcome_grpc(codes[i].code, 0), codes[i].foreign,
               "gRPC %u, the client's", codes[i].code);
    }
}


int
main(void)
{
    test_names();
    test_sets();
    test_statuses();
    test_grpc();

    return done_testing();
}
