
/*
 * Server-sent events, framed by the rules of the WHATWG HTML standard (9.2.6):
 * lines end with CR, LF or CRLF, split anywhere; comments; several data lines
 * in one event; a byte order mark at the start.
 *
 * Bytes are only looked at, never held back: an event that lies in one piece
 * is shown in place, one that is split is gathered in the caller's buffer, as
 * far as it fits.
 */


#ifndef LLM_SSE_H_INCLUDED
#define LLM_SSE_H_INCLUDED


#include "digest.h"


#define LLM_SSE_NAME  48           /* bytes of an event's name that are kept */


typedef struct {
    llm_str_t             name;    /* empty: the default, "message" */
    llm_str_t             data;    /* lines joined by LF */
    unsigned              cut:1;   /* data was longer than the buffer, and is
                                      its beginning, or a digest of it */
    uint64_t              start;   /* offset of its first field */
} llm_event_t;


/*
 * Takes the data of an event that does not fit into the buffer, all of it, in
 * pieces; first: another event's begins.
 */
typedef void (*llm_sse_over_pt)(void *ctx, const unsigned char *data,
    size_t len, int first);

typedef struct {
    unsigned char        *buf;     /* the caller's, for gathering data */
    size_t                size;
    size_t                len;
    llm_sse_over_pt       over;    /* the caller's, NULL: it is lost */
    void                 *ctx;     /* for that */
    uint64_t              offset;  /* bytes read, to the last piece's end */
    uint64_t              start;   /* the event's first field, if pending */
    const unsigned char  *piece;
    llm_str_t             place;   /* the data while it lies in one piece */
    unsigned              state;
    unsigned char         field[8];        /* the line's field name */
    unsigned              field_len;
    unsigned char         name[LLM_SSE_NAME];
    unsigned              name_len;
    unsigned              has_data:1;
    unsigned              cut:1;
    unsigned              cr:1;    /* the last byte was a CR */
    unsigned              bom;     /* progress over the byte order mark */
    unsigned              pending:1;       /* fields came since the last
                                              blank line */
    unsigned              open:1;  /* inside an event or a line: a reader
                                      would join what comes next to it */
    unsigned              shorten:1;
    llm_digest_t          digest;  /* of data that does not fit */
} llm_sse_t;

void llm_sse_init(llm_sse_t *s, unsigned char *buf, size_t size);

/*
 * From now on data that is longer than the buffer is not cut off but, being
 * JSON, made short; see digest.h.
 */
void llm_sse_shorten(llm_sse_t *s);

/*
 * Reads on from *pos up to last.  Returns 1 when an event is complete: *pos is
 * then behind its last byte (the blank line's end), and the event is valid
 * until the next call.  Returns 0 when the piece is used up.  Events without
 * data are dropped, as the standard says.
 */
int llm_sse_next(llm_sse_t *s, const unsigned char **pos,
    const unsigned char *last, llm_event_t *event);

/*
 * Is there an event that is not complete yet?  *start: offset of its first
 * field among the bytes read.
 */
int llm_sse_begun(const llm_sse_t *s, uint64_t *start);

/*
 * Is the reader between two events, so that what is written next stands by
 * itself?
 */
int llm_sse_between(const llm_sse_t *s);


#endif /* LLM_SSE_H_INCLUDED */
