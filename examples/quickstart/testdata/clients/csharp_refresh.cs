// Signs in as the clients of an ASP.NET Web API do. A handler of its HttpClient refreshes
// when a request is answered with 401, and repeats the request. Prints whom /me names each
// time.
using System;
using System.Collections.Generic;
using System.Net;
using System.Net.Http;
using System.Net.Http.Headers;
using System.Runtime.Serialization;
using System.Runtime.Serialization.Json;
using System.Text;
using System.Threading;
using System.Threading.Tasks;

[DataContract]
class TokenResponse
{
    [DataMember(Name = "access_token")] public string AccessToken;
    [DataMember(Name = "refresh_token")] public string RefreshToken;
    [DataMember(Name = "userName")] public string UserName;
    [DataMember(Name = "error")] public string Error;
}

[DataContract]
class Seen
{
    [DataMember(Name = "client")] public string Client;
    [DataMember(Name = "users")] public List<string> Users = new List<string>();
}

class RefreshingHandler : DelegatingHandler
{
    static readonly HttpClient http = new HttpClient();
    readonly string host;
    readonly SemaphoreSlim one = new SemaphoreSlim(1);
    TokenResponse token;

    public RefreshingHandler(string host) : base(new HttpClientHandler()) { this.host = host; }

    static string Variable(string name) => Environment.GetEnvironmentVariable(name) ?? "";

    public async Task SignIn(string user, string password)
    {
        token = await Grant(new Dictionary<string, string> { ["grant_type"] = "password", ["username"] = user, ["password"] = password });
    }

    async Task<TokenResponse> Grant(Dictionary<string, string> form)
    {
        var request = new HttpRequestMessage(HttpMethod.Post, host + "/Token");
        string id = Variable("CLIENT_ID"), secret = Variable("CLIENT_SECRET");
        if (id != "" && Variable("CLIENT_AUTH") == "basic")
        {
            var credentials = Encoding.UTF8.GetBytes(Uri.EscapeDataString(id) + ":" + Uri.EscapeDataString(secret));
            request.Headers.Authorization = new AuthenticationHeaderValue("Basic", Convert.ToBase64String(credentials));
        }
        else if (id != "")
        {
            form["client_id"] = id;
            form["client_secret"] = secret;
        }
        request.Content = new FormUrlEncodedContent(form);
        using (var response = await http.SendAsync(request))
        {
            var answer = await Read(response);
            if (!response.IsSuccessStatusCode)
                throw new Exception("refused: " + answer.Error);
            return answer;
        }
    }

    protected override async Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken canceled)
    {
        var used = token;
        request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", used.AccessToken);
        var response = await base.SendAsync(request, canceled);
        if (response.StatusCode != HttpStatusCode.Unauthorized)
            return response;
        response.Dispose();
        await one.WaitAsync(canceled);
        try
        {
            if (token == used) // no other request has refreshed
                token = await Grant(new Dictionary<string, string> { ["grant_type"] = "refresh_token", ["refresh_token"] = used.RefreshToken });
        }
        finally { one.Release(); }
        var again = new HttpRequestMessage(request.Method, request.RequestUri); // one without a body
        again.Headers.Authorization = new AuthenticationHeaderValue("Bearer", token.AccessToken);
        return await base.SendAsync(again, canceled);
    }

    public static async Task<TokenResponse> Read(HttpResponseMessage response)
    {
        using (var body = await response.Content.ReadAsStreamAsync())
            return (TokenResponse)new DataContractJsonSerializer(typeof(TokenResponse)).ReadObject(body);
    }
}

static class Program
{
    static void Main() => Visit().GetAwaiter().GetResult(); // the compiler knows no asynchronous Main

    static async Task Visit()
    {
        var host = Environment.GetEnvironmentVariable("HOST");
        var handler = new RefreshingHandler(host);
        await handler.SignIn(Environment.GetEnvironmentVariable("USER_NAME"), Environment.GetEnvironmentVariable("PASSWORD"));
        var http = new HttpClient(handler);
        var seen = new Seen { Client = "HttpClient " + typeof(HttpClient).Assembly.GetName().Version + " of CLR " + Environment.Version };
        for (var i = 0; i < 3; i++)
            using (var response = await http.GetAsync(host + "/me"))
                seen.Users.Add((await RefreshingHandler.Read(response)).UserName);
        new DataContractJsonSerializer(typeof(Seen)).WriteObject(Console.OpenStandardOutput(), seen);
    }
}
