
/*
 * A dialect: what a provider's answers mean, where its credential goes, and
 * how an error is said to a client that speaks it.  A table of functions; the
 * call names no dialect.
 */


#ifndef LLM_DIALECT_H_INCLUDED
#define LLM_DIALECT_H_INCLUDED


#include "bound.h"
#include "llm.h"
#include "sse.h"
#include "../engine/outcome.h"


#define LLM_ERROR_BODY  16384      /* bytes of an error's body that are read */


/* An answer that is no stream, or no longer one: what is known of it. */

typedef struct {
    unsigned              status;
    llm_str_t             type;      /* Content-Type, may be empty */
    llm_str_t             body;      /* as much as is held */
    unsigned              whole:1;   /* the body is all there */
    unsigned              own_key:1; /* called with the provider's own key */
    unsigned              retry_after:1;  /* the answer names a wait */
    unsigned              coded:1;   /* by a Content-Encoding: unreadable */
    unsigned              grpc;      /* status code of a gRPC answer, 0: OK, or
                                        it is none, or not known yet */
} llm_answer_t;


/* what an answer says of the next attempt beside its class, a set */

#define LLM_ADVICE_ONCE       1      /* one more attempt may well succeed */
#define LLM_ADVICE_MOVE       2      /* no other attempt here would */
#define LLM_ADVICE_BLAMELESS  4      /* it is nothing to the breaker */
#define LLM_ADVICE_STOP       8      /* nor would one elsewhere, and the
                                        answer is not for the client */
#define LLM_ADVICE_MISFIT     16     /* what was asked fits no such API: the
                                        operator may want to know */


typedef enum {
    LLM_EVENT_NOISE = 0,             /* says nothing yet: ping, preamble */
    LLM_EVENT_USAGE,                 /* noise, but for the tokens that were
                                        asked for */
    LLM_EVENT_CONTENT,               /* commits */
    LLM_EVENT_END,                   /* the terminal mark */
    LLM_EVENT_ERROR,                 /* an error inside the stream */
    LLM_EVENT_FAILED,                /* the same, which clients overlook */
    LLM_EVENT_LAST,                  /* content and the terminal mark */
    LLM_EVENT_REFUSED,               /* content: the provider's no, that
                                        another one might not say */
    LLM_EVENT_DENIED                 /* the same, and the terminal mark */
} llm_event_e;


/* what is to be known of a stream when it has to be ended by us */

typedef struct {
    uint64_t              sequence;  /* the next event's number */
    unsigned              numbered:1;  /* its events have them */
} llm_stream_t;


typedef struct {
    llm_str_t             name;
    const char           *url;       /* default endpoint, NULL: none */

    const char           *key_header;   /* lower case, NULL: no key */
    const char           *key_prefix;   /* before the credential, e.g.
                                           "Bearer " */
    const char           *key_arg;      /* an argument that may hold a
                                           client's credential, or NULL */

    /*
     * Finds the model's name in a request's path, both decoded.  Returns 1,
     * or 0 if the path names none: then the body may.  NULL: no path does.
     */
    int                 (*model)(llm_str_t path, llm_str_t *name);

    /* what binds a request to the provider that was asked before, or NULL */
    const llm_bound_member_t  *bound_members;
    const char *const    *bound_paths;

    /*
     * The class of an answer: of an error status, or of a complete 2xx body
     * that is no event stream.  Only called with a status >= 200.
     */
    res_outcome_e       (*classify)(const llm_answer_t *a);

    /*
     * What else such an answer says, LLM_ADVICE_...; outcome is its class.
     * NULL: nothing.
     */
    unsigned            (*advice)(const llm_answer_t *a,
                                  res_outcome_e outcome);

    /*
     * The ms that the body of an error asks to wait; 0: it says nothing.
     * NULL: bodies of the dialect never do.
     */
    uint64_t            (*wait)(const llm_answer_t *a);

    /*
     * What an event means; on LLM_EVENT_ERROR, ..._FAILED, ..._REFUSED and
     * ..._DENIED *outcome is its class.  NULL: the dialect knows no streams,
     * and every answer commits at its header.
     */
    llm_event_e         (*event)(const llm_event_t *e,
                                 res_outcome_e *outcome);

    /* Remembers of an event what error_event() needs.  NULL: nothing. */
    void                (*follow)(llm_stream_t *stream,
                                  const llm_event_t *e);

    /*
     * Where answers and events tell of tokens, as llm_json_scan_init() wants
     * it, with NULL at the end, all with the same last part; and what the value
     * that stands there tells, given to llm_usage_note() or _most().  NULL:
     * they tell nothing.
     */
    const char *const    *usage_names;
    void                (*usage)(llm_str_t value, llm_usage_t *u);

    /*
     * Streams that tell of tokens only if they are asked to: what the member
     * "stream_options" of a request at that path has to be.  options is what
     * it is, empty: there is none.  With buf == NULL returns the length only;
     * 0: it has to be left as it is.  NULL: all streams tell.
     */
    size_t              (*ask_usage)(unsigned char *buf, llm_str_t path,
                                     llm_str_t options);

    /*
     * An error made by us, as a whole JSON body: code is our stable name of
     * what happened (an outcome), message is plain text.  With buf == NULL
     * returns the length only.
     */
    size_t              (*error_body)(unsigned char *buf, unsigned status,
                                      const char *code, const char *message);
    llm_str_t             error_type;   /* its Content-Type */

    /*
     * The same as the event that ends a broken stream, from the start of a
     * line to the blank line.  status is the one the error would have had;
     * stream may be NULL.
     */
    size_t              (*error_event)(unsigned char *buf,
                                       const llm_stream_t *stream,
                                       unsigned status, const char *code,
                                       const char *message);
} llm_dialect_t;


extern const llm_dialect_t  llm_dialect_none;
extern const llm_dialect_t  llm_dialect_openai;
extern const llm_dialect_t  llm_dialect_anthropic;
extern const llm_dialect_t  llm_dialect_azure;
extern const llm_dialect_t  llm_dialect_gemini;

/* The dialect of that name, or NULL. */
const llm_dialect_t *llm_dialect_find(const char *name, size_t len);

/* The n-th dialect, NULL behind the last; for messages that list them. */
const llm_dialect_t *llm_dialect_get(unsigned n);


#endif /* LLM_DIALECT_H_INCLUDED */
