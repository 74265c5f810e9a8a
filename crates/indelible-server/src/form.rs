//! The form of a request, in both versions of HTTP: what proxies and servers have been known to read in two ways is refused.

use hyper::{
    HeaderMap, Request, Version,
    body::Incoming,
    header::{CONTENT_LENGTH, HOST, HeaderValue, TRANSFER_ENCODING},
};

use crate::{
    framing::TwoFramings,
    problem::{Kind, Problem},
};

/// Whether a request is written as requests are here.
///
/// # Errors
/// [`Kind::BadRequest`], [`Kind::HeadTooLarge`].
pub(crate) fn in_order(request: &Request<Incoming>, most_headers: usize) -> Result<(), Problem> {
    let headers = request.headers();
    // HTTP/1.1 never gets here with more: its reader refuses them.
    if headers.len() > most_headers {
        return Err(Problem::new(Kind::HeadTooLarge, format!("a request has at most {most_headers} headers here")));
    }
    match request.version() {
        Version::HTTP_11 => first_version(request.uri(), headers)?,
        Version::HTTP_2 => second_version(request.uri(), headers)?,
        _ => return Err(Problem::bad("HTTP/1.1 and, over TLS, HTTP/2 are spoken here")),
    }
    if request.extensions().get::<TwoFramings>().is_some() {
        return Err(two_lengths());
    }
    one_length(headers)
}

fn first_version(target: &hyper::Uri, headers: &HeaderMap) -> Result<(), Problem> {
    if headers.get_all(HOST).iter().count() != 1 {
        return Err(Problem::bad("`Host` is sent once"));
    }
    if headers.get(HOST).is_some_and(|host| host.as_bytes().contains(&b'@')) {
        return Err(Problem::bad("`Host` is a host and perhaps a port"));
    }
    if target.scheme().is_some() || target.authority().is_some() {
        return Err(Problem::bad("the target of a request is a path: this is no proxy"));
    }
    Ok(())
}

/// HTTP/2 has no framing to disagree on: its library refuses what is only for connections, and a length that is not that of the body.
fn second_version(target: &hyper::Uri, headers: &HeaderMap) -> Result<(), Problem> {
    let Some(authority) = target.authority() else { return Err(Problem::bad("`:authority` is sent once")) };
    if authority.as_str().contains('@') {
        return Err(Problem::bad("`:authority` is a host and perhaps a port"));
    }
    if target.scheme_str() != Some("https") || !target.path().starts_with(['/', '*']) {
        return Err(Problem::bad("the target of a request is an `https` path: this is no proxy"));
    }
    let mut hosts = headers.get_all(HOST).iter();
    let same = |host: &HeaderValue| host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes());
    if hosts.next().is_some_and(|host| !same(host)) || hosts.next().is_some() {
        return Err(Problem::bad("`Host` is left out, or says what `:authority` says"));
    }
    Ok(())
}

fn one_length(headers: &HeaderMap) -> Result<(), Problem> {
    let framed = (headers.contains_key(TRANSFER_ENCODING), headers.get_all(CONTENT_LENGTH).iter().count());
    let digits = |value: &HeaderValue| !value.is_empty() && value.as_bytes().iter().all(u8::is_ascii_digit);
    let is_number = headers.get(CONTENT_LENGTH).is_none_or(digits);
    if framed.1 > 1 || (framed.0 && framed.1 > 0) || !is_number {
        return Err(two_lengths());
    }
    // What is chunked twice is read as once by some.
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let chunked = |value: &HeaderValue| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
    if codings.next().is_some_and(|value| !chunked(value)) || codings.next().is_some() {
        return Err(Problem::bad("`Transfer-Encoding` is `chunked`, once"));
    }
    Ok(())
}

fn two_lengths() -> Problem {
    Problem::bad("a body has one length: send `Content-Length` once, or `Transfer-Encoding` alone")
}
