using System.Net.Http.Json;
using System.Text.Json;

var host = Environment.GetEnvironmentVariable("HOST");
using var http = new HttpClient();
var response = await http.PostAsync($"{host}/PATH", new FormUrlEncodedContent(new Dictionary<string, string>
{
    ["grant_type"] = "password",
    ["username"] = "username",
    ["client_id"] = "client",
    ["client_secret"] = "secret",
    ["password"] = "password",
}));
response.EnsureSuccessStatusCode();
var token = await response.Content.ReadFromJsonAsync<JsonElement>();
Console.WriteLine(token.GetProperty("access_token"));
