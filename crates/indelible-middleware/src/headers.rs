//! Headers that tell a browser what it may do with an answer.
//!
//! Each is set only where the application has not chosen one itself, also where a layer answered in its place. `Strict-Transport-Security` goes only over TLS, or where it is told to.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use http::{
    Extensions, HeaderMap, HeaderName, HeaderValue, Request, Response, Uri,
    header::{
        CONTENT_SECURITY_POLICY, InvalidHeaderValue, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY,
        X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
    },
};
use tower_layer::Layer;
use tower_service::Service;

use crate::Answered;

const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// A year, in seconds.
const YEAR: u32 = 31_536_000;

/// Put into the extensions of a request that came over TLS. Over HTTP/2 the scheme of the request says so as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverTls;

/// When `Strict-Transport-Security` is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hsts {
    /// Never.
    Never,
    /// Over TLS: where the request has [`OverTls`], or `https` as its scheme.
    OverTls,
    /// Always: behind a proxy that ends TLS.
    Always,
}

/// The headers, and a layer that sets them.
#[derive(Clone, Debug)]
pub struct SecurityHeaders {
    headers: Arc<HeaderMap>,
    hsts: Hsts,
}

impl SecurityHeaders {
    /// For an interface that programs use: nothing of it is to be shown, run, or embedded.
    #[must_use]
    pub fn for_programs() -> Self {
        Self::of(&[
            (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
            (OPENER_POLICY, "same-origin"),
            (RESOURCE_POLICY, "same-origin"),
            (PERMISSIONS_POLICY, "camera=(), geolocation=(), microphone=()"),
            (REFERRER_POLICY, "no-referrer"),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (X_FRAME_OPTIONS, "DENY"),
        ])
    }

    /// For pages whose scripts, styles and pictures are all the server's own, in files.
    #[must_use]
    pub fn for_pages() -> Self {
        let policy =
            "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'";
        Self::for_programs().with(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy))
    }

    fn of(rows: &[(HeaderName, &'static str)]) -> Self {
        let headers = rows.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect();
        let hsts = HeaderValue::from(YEAR);
        Self { headers: Arc::new(headers), hsts: Hsts::OverTls }.with_max_age(&hsts)
    }

    fn with_max_age(self, seconds: &HeaderValue) -> Self {
        let text = format!("max-age={}", seconds.to_str().unwrap_or_default());
        match HeaderValue::from_str(&text) {
            Ok(value) => self.with(STRICT_TRANSPORT_SECURITY, value),
            Err(_) => self,
        }
    }

    /// The same with another value of a header, or one more.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        Arc::make_mut(&mut self.headers).insert(name, value);
        self
    }

    /// The same without a header.
    #[must_use]
    pub fn without(mut self, name: &HeaderName) -> Self {
        Arc::make_mut(&mut self.headers).remove(name);
        self
    }

    /// Another `Content-Security-Policy`.
    ///
    /// # Errors
    /// That it cannot be a header's value.
    pub fn content_security_policy(self, policy: &str) -> Result<Self, InvalidHeaderValue> {
        Ok(self.with(CONTENT_SECURITY_POLICY, HeaderValue::from_str(policy)?))
    }

    /// Another `Permissions-Policy`.
    ///
    /// # Errors
    /// That it cannot be a header's value.
    pub fn permissions_policy(self, policy: &str) -> Result<Self, InvalidHeaderValue> {
        Ok(self.with(PERMISSIONS_POLICY, HeaderValue::from_str(policy)?))
    }

    /// When `Strict-Transport-Security` is sent.
    #[must_use]
    pub fn hsts(self, when: Hsts) -> Self {
        Self { hsts: when, ..self }
    }

    /// For how long browsers keep to TLS. It is a promise for all that time; subdomains are left out of it unless [`Self::with`] says otherwise.
    #[must_use]
    pub fn hsts_seconds(self, seconds: u32) -> Self {
        self.with_max_age(&HeaderValue::from(seconds))
    }

    /// Sets what is not set yet.
    pub fn apply(&self, headers: &mut HeaderMap, over_tls: bool) {
        let strict = match self.hsts {
            Hsts::Never => false,
            Hsts::OverTls => over_tls,
            Hsts::Always => true,
        };
        headers.reserve(self.headers.len());
        for (name, value) in self.headers.iter() {
            if strict || name != STRICT_TRANSPORT_SECURITY {
                headers.entry(name).or_insert_with(|| value.clone());
            }
        }
    }
}

fn is_over_tls(uri: &Uri, extensions: &Extensions) -> bool {
    extensions.get::<OverTls>().is_some() || uri.scheme() == Some(&http::uri::Scheme::HTTPS)
}

impl<S> Layer<S> for SecurityHeaders {
    type Service = SetHeaders<S>;

    fn layer(&self, inner: S) -> SetHeaders<S> {
        SetHeaders { inner, headers: self.clone() }
    }
}

/// The service of [`SecurityHeaders`].
#[derive(Clone, Debug)]
pub struct SetHeaders<S> {
    inner: S,
    headers: SecurityHeaders,
}

impl<S, Q, B> Service<Request<Q>> for SetHeaders<S>
where
    S: Service<Request<Q>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = Answered<Response<B>, S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let over_tls = is_over_tls(request.uri(), request.extensions());
        let (headers, answer) = (self.headers.clone(), self.inner.call(request));
        Box::pin(async move {
            let mut response = answer.await?;
            headers.apply(response.headers_mut(), over_tls);
            Ok(response)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(
        headers: &SecurityHeaders,
        over_tls: bool,
        chosen: &[(&'static str, &'static str)],
        expected: &[(&str, Option<&str>)],
    ) {
        let mut map = HeaderMap::new();
        for (name, value) in chosen {
            map.insert(*name, HeaderValue::from_static(value));
        }
        headers.apply(&mut map, over_tls);
        for (name, value) in expected {
            assert_eq!(map.get(*name).map(|value| value.to_str().unwrap()), *value, "{name}");
        }
    }

    #[test]
    fn what_the_application_chose_stands() {
        let headers = SecurityHeaders::for_programs();
        let set = [("x-frame-options", Some("SAMEORIGIN")), ("x-content-type-options", Some("nosniff"))];
        check(&headers, false, &[("x-frame-options", "SAMEORIGIN")], &set);
        let none = headers.without(&X_FRAME_OPTIONS).content_security_policy("default-src 'self'").unwrap();
        check(&none, false, &[], &[("x-frame-options", None), ("content-security-policy", Some("default-src 'self'"))]);
        assert!(none.permissions_policy("a\nb").is_err());
    }

    #[test]
    fn strict_transport_is_told_over_tls_or_when_it_is_asked_for() {
        const NAME: &str = "strict-transport-security";
        let year = Some("max-age=31536000");
        for (when, plain, tls) in [(Hsts::Never, None, None), (Hsts::OverTls, None, year), (Hsts::Always, year, year)] {
            let headers = SecurityHeaders::for_pages().hsts(when);
            check(&headers, false, &[], &[(NAME, plain)]);
            check(&headers, true, &[], &[(NAME, tls)]);
        }
        check(&SecurityHeaders::for_pages().hsts_seconds(60), true, &[], &[(NAME, Some("max-age=60"))]);
        check(&SecurityHeaders::for_pages(), true, &[(NAME, "max-age=0")], &[(NAME, Some("max-age=0"))]);
    }

    #[test]
    fn a_request_is_over_tls_where_its_scheme_or_its_connection_says_so() {
        let rows =
            [("/x", false, false), ("/x", true, true), ("https://a/x", false, true), ("http://a/x", false, false)];
        for (uri, marked, expected) in rows {
            let mut extensions = Extensions::new();
            if marked {
                extensions.insert(OverTls);
            }
            assert_eq!(is_over_tls(&uri.parse().unwrap(), &extensions), expected, "{uri}");
        }
    }
}
