#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "lib/redact/redactor.h"

namespace ctriage::redact {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

struct Case {
  const char* line;
  const char* shown;
};

TEST(Redactor, TextsWithSecrets) {
  const Case cases[] = {
      {"DB_PASSWORD=hunter2 is it", "DB_PASSWORD=[redacted 1]"},
      {"x DB_PASSWORD=hunter2 y", "x DB_PASSWORD=[redacted 1] y"},
      {"export API_KEY='a b c'; run", "export API_KEY='[redacted 1]'; run"},
      {"password: hunter2", "password: [redacted 1]"},
      {"mysql --password=hunter2 -u root", "mysql --password=[redacted 1] -u root"},
      {"mysql --password hunter2 -u root", "mysql --password [redacted 1] -u root"},
      {"GET https://ir:hunter2@host/x", "GET https://ir:[redacted 1]@host/x"},
      {"PUT /b?X-Amz-Signature=abcdef0123&y=1", "PUT /b?X-Amz-Signature=[redacted 1]&y=1"},
      {"Authorization: Bearer abcdefgh.ijk", "Authorization: Bearer [redacted 1]"},
      {"key AKIAIOSFODNN7EXAMPLE used", "key [redacted 1] used"},
      {"t=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln end", "t=[redacted 1] end"},
      {"ghp_0123456789abcdefghijABCDEFGHIJ012345", "[redacted 1]"},
      {"{\"password\":\"hunter2\",\"user\":\"ir\"}", "{\"password\":\"[redacted 1]\",\"user\":\"ir\"}"},
      {"[{\"name\":\"DB_PASS\",\"value\":\"hunter2\"}]",
       "[{\"name\":\"DB_PASS\",\"value\":\"[redacted 1]\"}]"},
      {"{\"pin\": 123456}", "{\"pin\": [redacted 1]}"},
      {"x --password=hun;ter2 -u root", "x --password=[redacted 1] -u root"},
      {"x --password=[hunter2]", "x --password=[redacted 1]"},
      {"x --db-password \"hunter2\"", "x --db-password \"[redacted 1]\""},
      {"mongodb://u:p@rt1/hunter2@h/db", "mongodb://u:[redacted 1]@h/db"},
      {"x SMTPPASS=hunter2", "x SMTPPASS=[redacted 1]"},
      {"{'password': 'hunter2'}", "{'password': '[redacted 1]'}"},
      {R"({"log":"{\"db_password\":\"hunter2\"}\n"})", R"({"log":"{\"db_password\":\"[redacted 1]\"}\n"})"},
      {"PASSWORD := \"hunter2\"", "PASSWORD := \"[redacted 1]\""},
      {"\"password\" => \"hunter2\"", "\"password\" => \"[redacted 1]\""},
      {"<password>hunter2</password>", "<password>[redacted 1]</password>"},
      {"q=password%3Dhunter2&y", "q=password%3D[redacted 1]&y"},
      {"Cookie: theme=dark; sid=hunter2", "Cookie: [redacted 1]"},
      {"Authorization: Token hunter2", "Authorization: Token [redacted 1]"},
      {"ALTER ROLE a WITH PASSWORD 'hunter2'", "ALTER ROLE a WITH PASSWORD '[redacted 1]'"},
      {"PASSWORD=[redacted 1]hunter2", "PASSWORD=[redacted 1]"},
      {"-----BEGIN PGP PRIVATE KEY BLOCK-----\\nx\\n-----END PGP PRIVATE KEY BLOCK-----", "[redacted 1]"},
      {"CREATE USER a IDENTIFIED BY 'hunter2'", "CREATE USER a IDENTIFIED BY '[redacted 1]'"},
      {"a -----BEGIN RSA PRIVATE KEY-----\\nMII\\n-----END RSA PRIVATE KEY----- b", "a [redacted 1] b"},
  };
  for (const Case& one : cases) {
    SCOPED_TRACE(one.line);
    Redactor redactor;
    EXPECT_EQ(redactor.text(one.line), one.shown);
    EXPECT_EQ(redactor.values(), 1U);
  }
}

TEST(Redactor, WhatIsNoSecretStays) {
  for (const char* line :
       {"PATH=/usr/bin:/bin", "", "GET /index.html 200", "https://host:8080/path", "the author of it",
        "compass=north", "\xff\xfe\x01", "SHA256:abcdefghijklmnopqrstuvwxyz", "/etc/passwd",
        "ls -l --color=auto", "PWD=/home/someone", "cd; PWD=/home/someone"}) {
    SCOPED_TRACE(line);
    Redactor redactor;
    EXPECT_EQ(redactor.text(line), line);
    EXPECT_EQ(redactor.hidden(), 0U);
  }
}

TEST(Redactor, TheSameValueHasTheSameNumber) {
  Redactor redactor;
  EXPECT_EQ(redactor.text("TOKEN=first-one"), "TOKEN=[redacted 1]");
  EXPECT_EQ(redactor.text("SECRET=second-one"), "SECRET=[redacted 2]");
  EXPECT_EQ(redactor.text("MY_TOKEN=first-one"), "MY_TOKEN=[redacted 1]");
  EXPECT_EQ(redactor.values(), 2U);
  EXPECT_EQ(redactor.hidden(), 3U);
}

TEST(Redactor, AValueThatIsKnownIsHiddenEverywhere) {
  Redactor redactor;
  ASSERT_EQ(redactor.text("TOKEN=correct+horse(battery"), "TOKEN=[redacted 1]");
  ASSERT_EQ(redactor.text("PIN=1234"), "PIN=[redacted 2]");
  EXPECT_EQ(redactor.text("said correct+horse(battery aloud"), "said correct+horse(battery aloud");
  EXPECT_TRUE(redactor.look_for_known());
  EXPECT_EQ(redactor.hidden(), 0U);
  EXPECT_EQ(redactor.text("said correct+horse(battery aloud"), "said [redacted 1] aloud");
  EXPECT_EQ(redactor.text("at 1234"), "at 1234");  // too short to be looked for
}

// Of two the longer, whichever was seen first; and what stood before a mark that may have ended it.
TEST(Redactor, OneThatBeginsAnother) {
  Redactor redactor;
  (void)redactor.text("TOKEN=hunter22");
  (void)redactor.text("TOKEN=hunter22prod");
  EXPECT_EQ(redactor.text("say PASSWORD=abcdefgh,ijklmnop, user=x"), "say PASSWORD=[redacted 3] user=x");
  EXPECT_TRUE(redactor.look_for_known());
  EXPECT_EQ(redactor.text("hunter22prod"), "[redacted 2]");
  EXPECT_EQ(redactor.text("hunter22"), "[redacted 1]");
  EXPECT_EQ(redactor.text("abcdefgh"), "[redacted 3]");
  EXPECT_EQ(redactor.values(), 3U);
}

TEST(Redactor, MoreThanCanBeLookedFor) {
  Redactor redactor;
  for (int i = 0; i < 200; ++i) (void)redactor.text("TOKEN=" + std::to_string(i) + std::string(4000, 'x'));
  EXPECT_FALSE(redactor.look_for_known());
}

TEST(Redactor, AKeyOverManyLines) {
  Redactor redactor;
  EXPECT_EQ(redactor.text("x -----BEGIN OPENSSH PRIVATE KEY-----"), "x [redacted 1]");
  EXPECT_EQ(redactor.text("b3BlbnNzaC1rZXktdjEAAAAABG5vbmU"), "[redacted 1]");
  EXPECT_EQ(redactor.text("-----END OPENSSH PRIVATE KEY----- y"), "[redacted 1] y");
  EXPECT_EQ(redactor.text("plain"), "plain");
  (void)redactor.text("-----BEGIN PRIVATE KEY-----");
  redactor.begin();
  EXPECT_EQ(redactor.text("plain"), "plain");
}

TEST(Redactor, Words) {
  Redactor redactor;
  EXPECT_THAT(redactor.words({"mysql", "--password", "hunter2", "-u", "root", "--token", "--verbose", "A=b",
                              "DB_PASS=x y"}),
              ElementsAre("mysql", "--password", "[redacted 1]", "-u", "root", "--token", "--verbose", "A=b",
                          "DB_PASS=[redacted 2]"));
}

TEST(Redactor, JsonOfOurs) {
  Redactor redactor;
  const auto shown = redactor.json(
      R"({"pid":18446744073709551615,"environ":["A=b","API_TOKEN=hunter2"],"argv":["x","--secret","s3cr3t"],)"
      R"("argv_b64":[null,null,"czNjcjN0"],"path_b64":"VE9LRU49aHVudGVyMg==","token":{"sub":"a"},"key":"sha256"})",
      Redactor::Whose::ours);
  ASSERT_TRUE(shown);
  EXPECT_EQ(
      *shown,
      R"({"argv":["x","--secret","[redacted 1]"],"environ":["A=b","API_TOKEN=[redacted 2]"],"key":"sha256",)"
      R"("path_b64":"VE9LRU49W3JlZGFjdGVkIDJd","pid":18446744073709551615,"token":{"sub":"a"}})");
}

TEST(Redactor, JsonOfOthers) {
  Redactor redactor;
  const auto shown = redactor.json(
      R"({"password":"a","api_key":12345678,"tokens":["t1",2,null],"env":[{"name":"DB_PASSWORD","value":"b"},{"name":"A","value":"c"}],"nested":{"clientSecret":"d"}})",
      Redactor::Whose::others);
  ASSERT_TRUE(shown);
  EXPECT_EQ(*shown, R"({"api_key":"[redacted 1]","env":[{"name":"DB_PASSWORD","value":"[redacted 2]"},)"
                    R"({"name":"A","value":"c"}],"nested":{"clientSecret":"[redacted 3]"},)"
                    R"("password":"[redacted 4]","tokens":["[redacted 5]","[redacted 6]",null]})");
}

TEST(Redactor, NamesInJsonOfOthersAndPairsInOurs) {
  Redactor redactor;
  EXPECT_EQ(*redactor.json(R"({"https://u:hunter2@reg":"y"})", Redactor::Whose::others),
            R"({"https://u:[redacted 1]@reg":"y"})");
  EXPECT_EQ(*redactor.json(R"({"xattrs":[{"name":"user.token","value":"s3cr3t"}]})", Redactor::Whose::ours),
            R"({"xattrs":[{"name":"user.token","value":"[redacted 2]"}]})");
}

TEST(Redactor, JsonThatIsNone) {
  Redactor redactor;
  // What follows a NUL byte would not be looked at.
  EXPECT_EQ(redactor.json(std::string_view("{}\0TOKEN=x", 10), Redactor::Whose::ours).error().code,
            Errc::malformed);
  EXPECT_EQ(redactor.json("{\"a\":", Redactor::Whose::ours).error().code, Errc::malformed);
  EXPECT_EQ(
      redactor.json(std::string(1000, '[') + std::string(1000, ']'), Redactor::Whose::ours).error().code,
      Errc::limit);
}

}  // namespace
}  // namespace ctriage::redact
