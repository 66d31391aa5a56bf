// The types of .NET 5 that the samples use and Mono lacks.
using System.Collections.Generic;
using System.IO;
using System.Runtime.Serialization.Json;
using System.Threading.Tasks;

namespace System.Text.Json
{
    public class JsonElement
    {
        readonly object value;
        public JsonElement(object value) { this.value = value; }
        public JsonElement GetProperty(string name) => new JsonElement(((Dictionary<string, object>)value)[name]);
        public override string ToString() => value.ToString();
    }
}

namespace System.Net.Http.Json
{
    using System.Text.Json;

    public static class Extensions
    {
        public static async Task<T> ReadFromJsonAsync<T>(this HttpContent content) where T : JsonElement
        {
            var settings = new DataContractJsonSerializerSettings { UseSimpleDictionaryFormat = true };
            var serializer = new DataContractJsonSerializer(typeof(Dictionary<string, object>), settings);
            using (var stream = await content.ReadAsStreamAsync())
                return (T)new JsonElement(serializer.ReadObject(stream));
        }

        public static async Task<T> GetFromJsonAsync<T>(this HttpClient http, string url) where T : JsonElement
        {
            var response = await http.GetAsync(url);
            response.EnsureSuccessStatusCode();
            return await response.Content.ReadFromJsonAsync<T>();
        }
    }
}
