// Signs in as the clients of an ASP.NET Web API do, with a form, and prints what
// it has seen. The argument is the way:
//
//   GET           HttpClient by GET, the documented call, which says that the form is JSON
//   POST          HttpClient by POST
//   StringContent the same, with a body of joined strings, labelled ISO-8859-1
//   StreamWriter  HttpWebRequest, with a body of joined strings behind a byte order mark
using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Net;
using System.Net.Http;
using System.Net.Http.Headers;
using System.Runtime.Serialization;
using System.Runtime.Serialization.Json;
using System.Text;
using System.Threading.Tasks;

[DataContract]
class TokenResponse
{
    [DataMember(Name = "access_token")] public string AccessToken;
    [DataMember(Name = "token_type")] public string TokenType;
    [DataMember(Name = "expires_in")] public long ExpiresIn;
    [DataMember(Name = "userName")] public string UserName;
    [DataMember(Name = ".issued")] public string Issued;
    [DataMember(Name = ".expires")] public string Expires;
    [DataMember(Name = "error")] public string Error;
    [DataMember(Name = "error_description")] public string ErrorDescription;
}

[DataContract]
class Seen
{
    [DataMember(Name = "client")] public string Client;
    [DataMember(Name = "expiresIn")] public double ExpiresIn;
    [DataMember(Name = "wrongPassword")] public string WrongPassword;
    [DataMember(Name = "wrongSecret", EmitDefaultValue = false)] public string WrongSecret;
    [DataMember(Name = "user")] public string User;
    [DataMember(Name = "userAgain")] public string UserAgain;
    [DataMember(Name = "replaced")] public string Replaced;
}

static class Program
{
    static readonly HttpClient http = new HttpClient();
    static readonly string host = Variable("HOST"), clientId = Variable("CLIENT_ID"), clientSecret = Variable("CLIENT_SECRET");

    static string Variable(string name) => Environment.GetEnvironmentVariable(name) ?? "";

    static async Task<TokenResponse> SignIn(string password, string secret)
    {
        var form = new Dictionary<string, string>
        {
            ["grant_type"] = "password",
            ["username"] = Variable("USER_NAME"),
            ["password"] = password,
        };
        if (way == "StreamWriter")
            return Write(Joined(form));
        var request = new HttpRequestMessage(way == "GET" ? HttpMethod.Get : HttpMethod.Post, host + "/Token");
        if (clientId != "" && Variable("CLIENT_AUTH") == "basic")
        {
            var credentials = Encoding.UTF8.GetBytes(Uri.EscapeDataString(clientId) + ":" + Uri.EscapeDataString(secret));
            request.Headers.Authorization = new AuthenticationHeaderValue("Basic", Convert.ToBase64String(credentials));
        }
        else if (clientId != "")
        {
            form["client_id"] = clientId;
            form["client_secret"] = secret;
        }
        request.Content = new FormUrlEncodedContent(form);
        if (way == "StringContent")
            request.Content = new StringContent(Joined(form), Encoding.GetEncoding("ISO-8859-1"), "application/x-www-form-urlencoded");
        if (way == "GET")
            request.Content.Headers.ContentType = new MediaTypeHeaderValue("application/json");
        using (var response = await http.SendAsync(request))
            return await Read<TokenResponse>(response);
    }

    // Many clients join strings and encode nothing.
    static string Joined(Dictionary<string, string> form) => string.Join("&", form.Select(p => p.Key + "=" + p.Value));

    static TokenResponse Write(string body)
    {
        var request = (HttpWebRequest)WebRequest.Create(host + "/Token");
        request.Method = "POST";
        request.ContentType = "application/x-www-form-urlencoded";
        using (var writer = new StreamWriter(request.GetRequestStream(), Encoding.UTF8))
            writer.Write(body);
        WebResponse response;
        try { response = request.GetResponse(); }
        catch (WebException e) when (e.Response != null) { response = e.Response; }
        using (response)
            return (TokenResponse)new DataContractJsonSerializer(typeof(TokenResponse)).ReadObject(response.GetResponseStream());
    }

    static async Task<HttpResponseMessage> Me(TokenResponse token)
    {
        var request = new HttpRequestMessage(HttpMethod.Get, host + "/me");
        request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", token.AccessToken);
        return await http.SendAsync(request);
    }

    static async Task<T> Read<T>(HttpResponseMessage response)
    {
        using (var body = await response.Content.ReadAsStreamAsync())
            return (T)new DataContractJsonSerializer(typeof(T)).ReadObject(body);
    }

    static string way;

    static void Main(string[] args)
    {
        way = args[0];
        Visit().GetAwaiter().GetResult(); // the compiler knows no asynchronous Main
    }

    static async Task Visit()
    {
        var password = Variable("PASSWORD");
        var seen = new Seen { Client = "HttpClient " + typeof(HttpClient).Assembly.GetName().Version + " of CLR " + Environment.Version };
        var first = await SignIn(password, clientSecret);
        // The dates of ASP.NET are in the format of RFC 1123.
        var lasts = DateTimeOffset.ParseExact(first.Expires, "r", null) - DateTimeOffset.ParseExact(first.Issued, "r", null);
        if (lasts.TotalSeconds - first.ExpiresIn > 1 || first.TokenType != "bearer")
            throw new Exception("the answer contradicts itself");
        seen.ExpiresIn = (DateTimeOffset.ParseExact(first.Expires, "r", null) - DateTimeOffset.UtcNow).TotalSeconds;
        seen.WrongPassword = (await SignIn("not " + password, clientSecret)).Error;
        if (clientSecret != "")
            seen.WrongSecret = (await SignIn(password, "not " + clientSecret)).Error;
        seen.User = (await Read<TokenResponse>(await Me(first))).UserName;
        var second = await SignIn(password, clientSecret);
        seen.UserAgain = (await Read<TokenResponse>(await Me(second))).UserName;
        var replaced = await Me(first);
        seen.Replaced = (int)replaced.StatusCode + " " + (await Read<TokenResponse>(replaced)).ErrorDescription;
        new DataContractJsonSerializer(typeof(Seen)).WriteObject(Console.OpenStandardOutput(), seen);
    }
}
