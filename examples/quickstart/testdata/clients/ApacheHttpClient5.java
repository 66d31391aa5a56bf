// Signs in with Apache HttpClient 5, and prints what it has seen. Its type of a
// form says ISO-8859-1. The argument is "form" for its own encoder of forms, or
// "joined" for a body of joined strings.
import java.time.Instant;
import java.time.ZonedDateTime;
import java.time.format.DateTimeFormatter;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.hc.client5.http.classic.methods.HttpGet;
import org.apache.hc.client5.http.classic.methods.HttpPost;
import org.apache.hc.client5.http.classic.methods.HttpUriRequest;
import org.apache.hc.client5.http.entity.UrlEncodedFormEntity;
import org.apache.hc.client5.http.impl.classic.CloseableHttpClient;
import org.apache.hc.client5.http.impl.classic.HttpClients;
import org.apache.hc.core5.http.ContentType;
import org.apache.hc.core5.http.NameValuePair;
import org.apache.hc.core5.http.io.entity.EntityUtils;
import org.apache.hc.core5.http.io.entity.StringEntity;
import org.apache.hc.core5.http.message.BasicNameValuePair;
import org.apache.hc.core5.util.VersionInfo;

class ApacheHttpClient5 {
    static final CloseableHttpClient http = HttpClients.createDefault();
    static final String host = System.getenv("HOST");
    static boolean joined;

    static String signIn(String password) throws Exception {
        HttpPost request = new HttpPost(host + "/Token");
        List<NameValuePair> form = new ArrayList<>();
        form.add(new BasicNameValuePair("grant_type", "password"));
        form.add(new BasicNameValuePair("username", System.getenv("USER_NAME")));
        form.add(new BasicNameValuePair("password", password));
        request.setEntity(new UrlEncodedFormEntity(form));
        if (joined)
            request.setEntity(new StringEntity("grant_type=password&username=" + System.getenv("USER_NAME") + "&password=" + password,
                ContentType.APPLICATION_FORM_URLENCODED));
        return send(request);
    }

    static String me(String answer) throws Exception {
        HttpGet request = new HttpGet(host + "/me");
        request.setHeader("Authorization", "Bearer " + member(answer, "access_token"));
        return send(request);
    }

    // send returns the status, and the body behind it.
    static String send(HttpUriRequest request) throws Exception {
        return http.execute(request, response -> response.getCode() + " " + EntityUtils.toString(response.getEntity()));
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
            VersionInfo.loadVersionInfo("org.apache.hc.client5", ApacheHttpClient5.class.getClassLoader()).getRelease(), System.getProperty("java.version"),
            left, wrong, user, again, replaced.substring(0, 3), member(replaced, "error_description"));
    }
}
