//! AWS CloudTrail records as events.
//!
//! Who: `userIdentity`. What: `eventSource` and `eventName`. To what: `resources`, or where AWS names none, the request
//! parameters that are known to name one. The record is kept whole in `details`.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::{
    error::RecordError,
    event::{Actor, Context, Details, Event, Target, Text, id_or_digest, reason},
    members::{Object, array, flag, object, required, set_origin, text, text_at, time},
};

/// Targets that are taken from one record; the rest are in `details`.
const MAX_TARGETS: usize = 32;

/// Request parameters that name what a call is about.
const NAMING_PARAMETERS: [(&str, &str); 27] = [
    ("/instanceId", "AWS::EC2::Instance"),
    ("/vpcId", "AWS::EC2::VPC"),
    ("/subnetId", "AWS::EC2::Subnet"),
    ("/routeTableId", "AWS::EC2::RouteTable"),
    ("/groupId", "AWS::EC2::SecurityGroup"),
    ("/snapshotId", "AWS::EC2::Snapshot"),
    ("/volumeId", "AWS::EC2::Volume"),
    ("/imageId", "AWS::EC2::Image"),
    ("/allocationId", "AWS::EC2::EIP"),
    ("/roleName", "AWS::IAM::Role"),
    ("/roleArn", "AWS::IAM::Role"),
    ("/userName", "AWS::IAM::User"),
    ("/groupName", "AWS::IAM::Group"),
    ("/policyArn", "AWS::IAM::Policy"),
    ("/instanceProfileName", "AWS::IAM::InstanceProfile"),
    ("/accessKeyId", "AWS::IAM::AccessKey"),
    ("/functionName", "AWS::Lambda::Function"),
    ("/secretId", "AWS::SecretsManager::Secret"),
    ("/keyId", "AWS::KMS::Key"),
    ("/trailName", "AWS::CloudTrail::Trail"),
    ("/detectorId", "AWS::GuardDuty::Detector"),
    ("/dBInstanceIdentifier", "AWS::RDS::DBInstance"),
    ("/dBSnapshotIdentifier", "AWS::RDS::DBSnapshot"),
    ("/logGroupName", "AWS::Logs::LogGroup"),
    ("/tableName", "AWS::DynamoDB::Table"),
    ("/topicArn", "AWS::SNS::Topic"),
    ("/queueUrl", "AWS::SQS::Queue"),
];

/// Calls that make the trail or its watchers see less.
const BLINDING_CALLS: [&str; 9] = [
    "StopLogging",
    "DeleteTrail",
    "UpdateTrail",
    "PutEventSelectors",
    "DeleteEventDataStore",
    "DeleteDetector",
    "StopConfigurationRecorder",
    "DeleteConfigurationRecorder",
    "DeleteFlowLogs",
];

pub(crate) fn event<'a>(record: &Object<'a>) -> Result<Event<'a>, RecordError> {
    let r = record.members;
    let id = required(r, "eventID", "every CloudTrail record has one; is this the right import format?")?;
    let at = required(r, "eventTime", "every CloudTrail record has one; is this the right import format?")?;
    let name = required(r, "eventName", "every CloudTrail record has one; is this the right import format?")?;
    let service =
        service(required(r, "eventSource", "every CloudTrail record has one; is this the right import format?")?);
    let (outcome, reason) = outcome(r)?;
    let actor = actor(r)?;
    Ok(Event {
        id: id_or_digest(id.into(), record.raw.get().as_bytes()),
        occurred_at: time("eventTime", at.into())?,
        kind: kind(r, service, name)?.into(),
        action: format!("{service}.{name}").into(),
        severity: severity(outcome, &actor, name).into(),
        outcome: outcome.into(),
        reason,
        actor,
        targets: targets(r, service)?,
        context: context(r)?,
        tenant: text(r, "recipientAccountId")?.into(),
        details: Some(Details::Raw(record.raw)),
        ..Event::default()
    })
}

/// `ec2` of `ec2.amazonaws.com`.
fn service(source: &str) -> &str {
    source.strip_suffix(".cn").unwrap_or(source).strip_suffix(".amazonaws.com").unwrap_or(source)
}

fn kind(r: &Map<String, Value>, service: &str, name: &str) -> Result<&'static str, RecordError> {
    let signs_in = ["ConsoleLogin", "AssumeRole", "GetSessionToken", "GetFederationToken", "SwitchRole", "CheckMfa"];
    if matches!(service, "sts" | "signin") || signs_in.iter().any(|call| name.starts_with(call)) {
        return Ok("auth");
    }
    match text(r, "eventType")? {
        "AwsServiceEvent" => return Ok("system"),
        "AwsCloudTrailInsight" => return Ok("security"),
        _ => {}
    }
    if matches!(service, "iam" | "organizations" | "sso" | "sso-directory" | "account") {
        return Ok("admin");
    }
    if flag(r, "readOnly").unwrap_or_else(|| reads_by_name(name)) {
        return Ok("data_access");
    }
    let manages = flag(r, "managementEvent").unwrap_or(matches!(text(r, "eventCategory")?, "" | "Management"));
    Ok(if manages { "admin" } else { "data_change" })
}

fn reads_by_name(name: &str) -> bool {
    ["Get", "List", "Describe", "Head", "Lookup", "BatchGet"].iter().any(|start| name.starts_with(start))
}

fn outcome<'a>(r: &'a Map<String, Value>) -> Result<(&'static str, Text<'a>), RecordError> {
    let (code, message) = (text(r, "errorCode")?, text(r, "errorMessage")?);
    let refused = ["AccessDenied", "Unauthorized", "Forbidden", "AuthFailure", "NotAuthorized"];
    let sign_in = text_at(r.get("responseElements"), "/ConsoleLogin");
    let outcome = match code {
        "" if message.is_empty() && sign_in != "Failure" => "success",
        _ if refused.iter().any(|part| code.contains(part)) => "denied",
        _ => "failure",
    };
    Ok((outcome, reason(joined(code, ": ", message))))
}

fn severity(outcome: &str, actor: &Actor<'_>, name: &str) -> &'static str {
    match outcome {
        _ if BLINDING_CALLS.contains(&name) || actor.kind == "root" => "warning",
        "success" => "info",
        _ => "notice",
    }
}

fn actor<'a>(r: &'a Map<String, Value>) -> Result<Actor<'a>, RecordError> {
    let Some(identity) = object(r, "userIdentity")? else {
        let account = required(r, "recipientAccountId", "without `userIdentity` it alone says who acted")?;
        return Ok(Actor { kind: "aws_account".into(), id: account.into(), ..Actor::default() });
    };
    let kind = text(identity, "type")?;
    let (invoked_by, account) = (text(identity, "invokedBy")?, text(identity, "accountId")?);
    let ids =
        [text(identity, "arn")?, text(identity, "principalId")?, invoked_by, account, text(identity, "userName")?];
    let Some(id) = ids.into_iter().find(|id| !id.is_empty()) else {
        return Err(RecordError::Missing {
            member: "userIdentity".to_owned(),
            remedy: "one of its `arn`, `principalId`, `invokedBy`, `accountId`, `userName` must say who acted",
        });
    };
    let session = identity.get("sessionContext");
    let issuer = text_at(session, "/sessionIssuer/userName");
    let name = text(identity, "userName")?;
    let notes = [
        ("account", account),
        ("invoked_by", invoked_by),
        ("role", text_at(session, "/sessionIssuer/arn")),
        ("mfa", text_at(session, "/attributes/mfaAuthenticated")),
        ("session_started_at", text_at(session, "/attributes/creationDate")),
    ];
    Ok(Actor {
        kind: match kind {
            "" if !invoked_by.is_empty() => "aws_service".into(),
            "" => "aws_account".into(),
            kind => snake_case(kind).into(),
        },
        id: id.into(),
        name: if name.is_empty() { issuer } else { name }.into(),
        session: text(identity, "accessKeyId")?.into(),
        attributes: notes.iter().filter(|n| !n.1.is_empty()).map(|n| (n.0.to_owned(), n.1.into())).collect(),
        ..Actor::default()
    })
}

fn targets<'a>(r: &'a Map<String, Value>, service: &str) -> Result<Vec<Target<'a>>, RecordError> {
    let named = array(r, "resources")?.iter().filter_map(named_resource);
    let named: Vec<_> = named.take(MAX_TARGETS).collect();
    if !named.is_empty() {
        return Ok(named);
    }
    let parameters = r.get("requestParameters");
    let mut targets: Vec<Target<'a>> = Vec::new();
    let (bucket, key) = (text_at(parameters, "/bucketName"), text_at(parameters, "/key"));
    if !bucket.is_empty() {
        let kind = if key.is_empty() { "AWS::S3::Bucket" } else { "AWS::S3::Object" };
        targets.push(Target { kind: kind.into(), id: joined(bucket, "/", key), ..Target::default() });
    }
    for (pointer, kind) in NAMING_PARAMETERS {
        push_target(&mut targets, kind, text_at(parameters, pointer));
    }
    if service == "cloudtrail" {
        push_target(&mut targets, "AWS::CloudTrail::Trail", text_at(parameters, "/name"));
    }
    if service == "ssm" {
        push_target(&mut targets, "AWS::SSM::Parameter", text_at(parameters, "/name"));
    }
    let instances = parameters.and_then(|p| p.pointer("/instancesSet/items")).and_then(Value::as_array);
    for instance in instances.into_iter().flatten().take(MAX_TARGETS) {
        push_target(&mut targets, "AWS::EC2::Instance", text_at(Some(instance), "/instanceId"));
    }
    targets.truncate(MAX_TARGETS);
    Ok(targets)
}

fn push_target<'a>(targets: &mut Vec<Target<'a>>, kind: &'static str, id: &'a str) {
    if !id.is_empty() {
        targets.push(Target { kind: kind.into(), id: id.into(), ..Target::default() });
    }
}

fn named_resource(resource: &Value) -> Option<Target<'_>> {
    let ids = ["/ARN", "/arn", "/ARNPrefix"].map(|pointer| text_at(Some(resource), pointer));
    let id = ids.into_iter().find(|id| !id.is_empty())?;
    let kind = match text_at(Some(resource), "/type") {
        // The third part of an ARN is the service: better than nothing.
        "" => id.split(':').nth(2).filter(|service| !service.is_empty()).unwrap_or("aws_resource"),
        kind => kind,
    };
    Some(Target { kind: kind.into(), id: id.into(), ..Target::default() })
}

fn context<'a>(r: &'a Map<String, Value>) -> Result<Context<'a>, RecordError> {
    let mut context = Context {
        user_agent: text(r, "userAgent")?.into(),
        request_id: text(r, "requestID")?.into(),
        trace_id: text(r, "sharedEventID")?.into(),
        location: text(r, "awsRegion")?.into(),
        ..Context::default()
    };
    set_origin(&mut context, text(r, "sourceIPAddress")?);
    Ok(context)
}

/// `one`, or `one`, `between` and `two`, where there is a second.
fn joined<'a>(one: &'a str, between: &str, two: &'a str) -> Text<'a> {
    match (one, two) {
        ("", only) | (only, "") => Cow::Borrowed(only),
        _ => Cow::Owned(format!("{one}{between}{two}")),
    }
}

/// `iam_user` of `IAMUser`.
fn snake_case(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    let mut before: Option<char> = None;
    let mut rest = name.chars().peekable();
    while let Some(c) = rest.next() {
        let word_starts = match before {
            Some(b) => c.is_uppercase() && (b.is_lowercase() || rest.peek().is_some_and(|next| next.is_lowercase())),
            None => false,
        };
        if word_starts {
            out.push('_');
        }
        out.extend(c.to_lowercase());
        before = Some(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::members::parse;

    /// The event of a record that is `extra` on top of the least that a record has.
    fn made(extra: Value) -> Value {
        let mut record = json!({
            "eventID": "e", "eventTime": "2023-07-10T11:42:36Z", "eventName": "GetObject",
            "eventSource": "s3.amazonaws.com", "userIdentity": {"type": "IAMUser", "arn": "arn:a", "userName": "ben"},
        });
        record.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let text = record.to_string();
        let (raw, members) = parse(text.as_bytes()).unwrap();
        let event = event(&Object { raw, members: &members }).unwrap();
        serde_json::to_value(event).unwrap()
    }

    #[track_caller]
    fn check(extra: Value, pointer: &str, expect: Value) {
        assert_eq!(
            made(extra.clone()).pointer(pointer),
            Some(&expect).filter(|e| !e.is_null()),
            "{pointer} of {extra}"
        );
    }

    #[test]
    fn tells_kinds_apart() {
        for (extra, kind) in [
            (json!({"readOnly": true}), "data_access"),
            (json!({"readOnly": "true"}), "data_access"),
            (json!({}), "data_access"),
            (json!({"readOnly": false, "managementEvent": true}), "admin"),
            (json!({"readOnly": false, "managementEvent": false, "eventCategory": "Data"}), "data_change"),
            (json!({"readOnly": true, "eventSource": "iam.amazonaws.com"}), "admin"),
            (json!({"readOnly": false, "eventName": "ConsoleLogin"}), "auth"),
            (json!({"eventSource": "sts.amazonaws.com", "eventName": "GetCallerIdentity"}), "auth"),
            (json!({"eventType": "AwsServiceEvent"}), "system"),
        ] {
            check(extra, "/kind", json!(kind));
        }
    }

    #[test]
    fn tells_outcomes_apart() {
        for (extra, outcome, severity, reason) in [
            (json!({}), "success", "info", Value::Null),
            (json!({"errorCode": "AccessDenied", "errorMessage": "no"}), "denied", "notice", json!("AccessDenied: no")),
            (
                json!({"errorCode": "Client.UnauthorizedOperation"}),
                "denied",
                "notice",
                json!("Client.UnauthorizedOperation"),
            ),
            (json!({"errorCode": "NoSuchTagSet"}), "failure", "notice", json!("NoSuchTagSet")),
            (json!({"responseElements": {"ConsoleLogin": "Failure"}}), "failure", "notice", Value::Null),
            (json!({"userIdentity": {"type": "Root", "arn": "arn:r"}}), "success", "warning", Value::Null),
            (json!({"eventName": "StopLogging"}), "success", "warning", Value::Null),
        ] {
            check(extra.clone(), "/outcome", json!(outcome));
            check(extra.clone(), "/severity", json!(severity));
            check(extra, "/reason", reason);
        }
    }

    #[test]
    fn finds_who_acted() {
        for (identity, kind, id) in [
            (json!({"type": "IAMUser", "arn": "arn:a", "principalId": "P"}), "iam_user", "arn:a"),
            (json!({"type": "AssumedRole", "principalId": "P"}), "assumed_role", "P"),
            (json!({"type": "AWSService", "invokedBy": "x.amazonaws.com"}), "aws_service", "x.amazonaws.com"),
            (json!({"accountId": "1", "invokedBy": "ec2.amazonaws.com"}), "aws_service", "ec2.amazonaws.com"),
            (json!({"type": "AWSAccount", "accountId": "1"}), "aws_account", "1"),
        ] {
            check(json!({"userIdentity": identity}), "/actor/type", json!(kind));
            check(json!({"userIdentity": identity}), "/actor/id", json!(id));
        }
        check(json!({"userIdentity": null, "recipientAccountId": "7"}), "/actor/id", json!("7"));
    }

    #[test]
    fn finds_targets() {
        let listed = json!({"resources": [{"ARN": "arn:aws:ssm:us-east-1:1:parameter/x"}, {"ARN": "a", "type": "T"}]});
        check(
            listed,
            "/targets",
            json!([{"type": "ssm", "id": "arn:aws:ssm:us-east-1:1:parameter/x"}, {"type": "T", "id": "a"}]),
        );
        let object = json!({"requestParameters": {"bucketName": "b", "key": "k/l"}});
        check(object, "/targets", json!([{"type": "AWS::S3::Object", "id": "b/k/l"}]));
        let instances = json!({"requestParameters": {"instancesSet": {"items": [{"instanceId": "i-1"}, 4]}}});
        check(instances, "/targets", json!([{"type": "AWS::EC2::Instance", "id": "i-1"}]));
        check(json!({"requestParameters": "text"}), "/targets", Value::Null);
    }

    #[test]
    fn origin_is_an_address_or_a_component() {
        check(json!({"sourceIPAddress": "10.0.0.1"}), "/context/source_ip", json!("10.0.0.1"));
        check(json!({"sourceIPAddress": "AWS Internal"}), "/context/component", json!("AWS Internal"));
    }

    #[test]
    fn writes_snake_case() {
        for (name, expect) in [("IAMUser", "iam_user"), ("Root", "root"), ("AWSService", "aws_service"), ("X", "x")] {
            assert_eq!(snake_case(name), expect);
        }
    }
}
