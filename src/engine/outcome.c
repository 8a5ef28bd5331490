
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "outcome.h"

#include <string.h>


static const char  *res_outcome_names[RES_OUTCOMES] = {
    [RES_SUCCESS]          = "success",
    [RES_CONNECT]          = "connect",
    [RES_TIMEOUT]          = "timeout",
    [RES_RATE_LIMITED]     = "rate_limited",
    [RES_QUOTA]            = "quota",
    [RES_AUTH]             = "auth",
    [RES_OVERLOADED]       = "overloaded",
    [RES_SERVER_ERROR]     = "server_error",
    [RES_STREAM_DROPPED]   = "stream_dropped",
    [RES_INVALID_RESPONSE] = "invalid_response",
    [RES_NOT_FOUND]        = "not_found",
    [RES_CONTEXT_LENGTH]   = "context_length",
    [RES_CONTENT_POLICY]   = "content_policy",
    [RES_CLIENT_ERROR]     = "client_error",
    [RES_CLIENT_ABORT]     = "client_abort",
    [RES_CANCELLED]        = "cancelled",
    [RES_BREAKER_OPEN]     = "breaker_open",
    [RES_NO_PERMIT]        = "no_permit",
    [RES_NO_KEY]           = "no_key",
    [RES_LIMITED]          = "limited",
    [RES_SHUTDOWN]         = "shutdown",
    [RES_STALE]            = "stale"
};


const char *
res_outcome_name(res_outcome_e outcome)
{
    if ((unsigned) outcome >= RES_OUTCOMES) {
        return "unknown";
    }

    return res_outcome_names[outcome];
}


int
res_outcome_parse(const char *name, size_t len)
{
    int  i;

    for (i = 0; i < RES_OUTCOMES; i++) {
        if (strlen(res_outcome_names[i]) == len
            && memcmp(res_outcome_names[i], name, len) == 0)
        {
            return i;
        }
    }

    return -1;
}


res_outcome_e
res_outcome_status(unsigned status, int own_key)
{
    if (status < 400) {
        return RES_SUCCESS;
    }

    switch (status) {

    case 401:
    case 403:
        return own_key ? RES_AUTH : RES_CLIENT_ERROR;

    case 402:
        return RES_QUOTA;

    case 429:
        return RES_RATE_LIMITED;

    case 503:
    case 529:
        return RES_OVERLOADED;

    default:
        return status < 500 ? RES_CLIENT_ERROR : RES_SERVER_ERROR;
    }
}


res_outcome_e
res_outcome_grpc(unsigned code, int own_key)
{
    switch (code) {

    case 0:  /* OK */
        return RES_SUCCESS;

    case 1:  /* CANCELLED */
    case 3:  /* INVALID_ARGUMENT */
    case 5:  /* NOT_FOUND */
    case 6:  /* ALREADY_EXISTS */
    case 9:  /* FAILED_PRECONDITION */
    case 10: /* ABORTED */
    case 11: /* OUT_OF_RANGE */
    case 12: /* UNIMPLEMENTED */
        return RES_CLIENT_ERROR;

    case 4:  /* DEADLINE_EXCEEDED */
        return RES_TIMEOUT;

    case 7:  /* PERMISSION_DENIED */
    case 16: /* UNAUTHENTICATED */
        return own_key ? RES_AUTH : RES_CLIENT_ERROR;

    case 8:  /* RESOURCE_EXHAUSTED */
        return RES_RATE_LIMITED;

    case 14: /* UNAVAILABLE */
        return RES_OVERLOADED;

    default: /* UNKNOWN, INTERNAL, DATA_LOSS */
        return RES_SERVER_ERROR;
    }
}
