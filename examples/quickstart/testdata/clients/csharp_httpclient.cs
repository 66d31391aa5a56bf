// Signs in as the clients of an ASP.NET Web API do, with HttpClient and a form,
// and prints what it has seen. The argument is the method, GET or POST; by GET it
// is the documented call, which says that the form is JSON.
using System;
using System.Collections.Generic;
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
        var request = new HttpRequestMessage(new HttpMethod(method), host + "/Token");
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
        if (method == "GET")
            request.Content.Headers.ContentType = new MediaTypeHeaderValue("application/json");
        using (var response = await http.SendAsync(request))
            return await Read<TokenResponse>(response);
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

    static string method;

    static void Main(string[] args)
    {
        method = args[0];
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
