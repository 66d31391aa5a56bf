// Signs in with Apache HttpClient 4, and prints what it has seen. Its type of a
// form says ISO-8859-1. The argument is "form" for its own encoder of forms, or
// "joined" for a body of joined strings.
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.time.ZonedDateTime;
import java.time.format.DateTimeFormatter;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.http.HttpEntity;
import org.apache.http.NameValuePair;
import org.apache.http.client.methods.CloseableHttpResponse;
import org.apache.http.client.methods.HttpGet;
import org.apache.http.client.methods.HttpPost;
import org.apache.http.client.methods.HttpUriRequest;
import org.apache.http.client.utils.URLEncodedUtils;
import org.apache.http.entity.ContentType;
import org.apache.http.entity.StringEntity;
import org.apache.http.impl.client.CloseableHttpClient;
import org.apache.http.impl.client.HttpClients;
import org.apache.http.message.BasicNameValuePair;
import org.apache.http.util.EntityUtils;
import org.apache.http.util.VersionInfo;

class ApacheHttpClient4 {
    static final CloseableHttpClient http = HttpClients.createDefault();
    static final String host = System.getenv("HOST");
    static boolean joined;

    static String signIn(String password) throws Exception {
        HttpPost request = new HttpPost(host + "/Token");
        List<NameValuePair> form = new ArrayList<>();
        form.add(new BasicNameValuePair("grant_type", "password"));
        form.add(new BasicNameValuePair("username", System.getenv("USER_NAME")));
        form.add(new BasicNameValuePair("password", password));
        String body = URLEncodedUtils.format(form, StandardCharsets.UTF_8);
        if (joined)
            body = "grant_type=password&username=" + System.getenv("USER_NAME") + "&password=" + password;
        request.setEntity(new StringEntity(body, ContentType.APPLICATION_FORM_URLENCODED));
        return send(request);
    }

    static String me(String answer) throws Exception {
        HttpGet request = new HttpGet(host + "/me");
        request.setHeader("Authorization", "Bearer " + member(answer, "access_token"));
        return send(request);
    }

    // send returns the status, and the body behind it.
    static String send(HttpUriRequest request) throws Exception {
        try (CloseableHttpResponse response = http.execute(request)) {
            HttpEntity entity = response.getEntity();
            return response.getStatusLine().getStatusCode() + " " + EntityUtils.toString(entity);
        }
    }

    static String member(String answer, String name) {
        Matcher m = Pattern.compile("\"" + Pattern.quote(name) + "\":\"?([^\",}]*)").matcher(answer);
        return m.find() ? m.group(1) : "";
    }

    public static void main(String[] args) throws Exception {
        joined = args[0].equals("joined");
        String password = System.getenv("PASSWORD");
        String first = signIn(password);
        Matcher expires = Pattern.compile("\"\\.expires\":\"([^\"]*)\"").matcher(first);
        if (!expires.find())
            throw new Exception("answered " + first.substring(0, 3));
        long left = ZonedDateTime.parse(expires.group(1), DateTimeFormatter.RFC_1123_DATE_TIME).toEpochSecond() - Instant.now().getEpochSecond();
        String wrong = member(signIn("not " + password), "error");
        String user = member(me(first), "userName");
        String again = member(me(signIn(password)), "userName");
        String replaced = me(first);
        System.out.printf("{\"client\":\"Apache HttpClient %s of Java %s\",\"expiresIn\":%d,\"wrongPassword\":\"%s\",\"user\":\"%s\",\"userAgain\":\"%s\",\"replaced\":\"%s %s\"}",
            VersionInfo.loadVersionInfo("org.apache.http.client", ApacheHttpClient4.class.getClassLoader()).getRelease(), System.getProperty("java.version"),
            left, wrong, user, again, replaced.substring(0, 3), member(replaced, "error_description"));
    }
}
